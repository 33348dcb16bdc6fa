//! Small frames to a client that are no packets, and how often some may be.

use std::time::Instant;

use ginnel_derp::{Frame, HEADER_SIZE, Key};

use super::client::Client;
use super::registry::Correspondents;
use super::with_scratch;
use crate::relay::Shared;
use crate::tls::Wire;

pub(crate) const DISCONNECTED: u8 = 0;
pub(crate) const NOT_HERE: u8 = 1;
const BURST: f64 = 3.0;

/// "Not here" is said once a second and three times at once (tailscale: derp/derpserver, peerGoneLim).
#[derive(Debug)]
pub(crate) struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    pub(crate) fn new(now: Instant) -> Self {
        Self {
            left: BURST,
            at: now,
        }
    }

    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let earned = now.duration_since(self.at).as_secs_f64();
        (self.left, self.at) = ((self.left + earned).min(BURST), now);
        let allowed = self.left >= 1.0;
        if allowed {
            self.left -= 1.0;
        }
        allowed
    }
}

/// Send a small frame that is no packet.
pub(crate) fn tell(client: &Client, frame: &Frame<'_>, wire: &mut Wire, shared: &Shared) {
    let mut bytes = Vec::with_capacity(HEADER_SIZE + 33);
    if frame.encode(&mut bytes).is_ok() {
        client.tell(&bytes, wire, &shared.counters);
    }
}

/// Those who had packets from this key learn that it is gone from the region, and nobody else does.
pub(crate) fn tell_gone(shared: &Shared, peer: &Key, correspondents: Correspondents) {
    let gone = Frame::PeerGone {
        peer,
        reason: DISCONNECTED,
    };
    for (key, id) in correspondents {
        if let Some(receiver) = shared.registry.connection(&key, id) {
            with_scratch(|scratch| tell(&receiver, &gone, &mut scratch.wire, shared));
            shared.counters.gone_disconnected.one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn three_at_once_and_then_one_a_second() {
        let start = Instant::now();
        let mut notes = Allowance::new(start);
        let allowed = |notes: &mut Allowance, now| (0..10).filter(|_| notes.take(now)).count();
        assert_eq!(allowed(&mut notes, start), 3);
        assert_eq!(allowed(&mut notes, start + Duration::from_millis(999)), 0);
        assert_eq!(allowed(&mut notes, start + Duration::from_millis(2001)), 2);
        assert_eq!(allowed(&mut notes, start + Duration::from_secs(3600)), 3);
    }
}
