//! What the relay says of itself to everybody: how it is, and that it is going away.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ginnel_derp::Frame;
use parking_lot::Mutex;

use crate::derp::{Client, tell, with_scratch};
use crate::relay::Shared;

/// Bytes of a problem's text.
const MAX_TEXT: usize = 1024;

#[derive(Default)]
pub(crate) struct Notices {
    health: Mutex<(u64, Arc<str>)>,
    draining: AtomicBool,
}

impl Notices {
    /// The problem, or nothing.
    pub(crate) fn health(&self) -> Arc<str> {
        self.health.lock().1.clone()
    }

    /// No new logins, but of relays.
    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    /// To a login that stands in the registry. A change meanwhile went to whoever stood there before, perhaps ahead
    /// of what is said here: then it is said again.
    pub(crate) fn greet(&self, shared: &Shared, client: &Client) {
        let mut said = None;
        loop {
            let (number, text) = self.health.lock().clone();
            if said == Some(number) || (said.is_none() && text.is_empty()) {
                return;
            }
            tell_one(shared, client, &Frame::Health(&text));
            said = Some(number);
        }
    }

    pub(crate) fn set_health(&self, shared: &Shared, text: &str) {
        let text: Arc<str> = text[..text.floor_char_boundary(MAX_TEXT)].into();
        {
            let mut health = self.health.lock();
            if health.1 == text {
                return;
            }
            *health = (health.0 + 1, text.clone());
        }
        tell_all(shared, &Frame::Health(&text));
    }

    pub(crate) fn drain(&self, shared: &Shared, reconnect_in: u32, try_for: u32) {
        self.draining.store(true, Ordering::Release);
        tell_all(
            shared,
            &Frame::Restarting {
                reconnect_in,
                try_for,
            },
        );
    }

    pub(crate) fn undrain(&self) {
        self.draining.store(false, Ordering::Release);
    }
}

fn tell_all(shared: &Shared, frame: &Frame<'_>) {
    for client in shared.registry.all() {
        tell_one(shared, &client, frame);
    }
}

fn tell_one(shared: &Shared, client: &Client, frame: &Frame<'_>) {
    with_scratch(|scratch| tell(client, frame, &mut scratch.wire, shared));
}
