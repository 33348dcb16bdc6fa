//! Named threads that a panic does not end silently.

use std::io;
use std::os::fd::RawFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

use crate::counters::Count;
use crate::shared::Shared;

/// Run `turn` again and again until the pump stops. A turn that panics is counted, and the next one follows.
pub fn spawn(
    shared: &Arc<Shared>,
    name: &str,
    mut turn: impl FnMut(&Arc<Shared>) + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    Builder::new().name(format!("pump-{name}")).spawn(move || {
        while !shared.is_stopping() {
            if catch_unwind(AssertUnwindSafe(|| turn(&shared))).is_err() {
                shared.counters.one(Count::ThreadPanic);
                // A turn that panics each time must not spin.
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    })
}

/// Wait until one of the descriptors is readable. Returns which.
pub fn wait_readable<const N: usize>(fds: [RawFd; N]) -> [bool; N] {
    let mut polls = fds.map(|fd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    });
    // SAFETY: `polls` is a live array of N entries; a negative descriptor is ignored.
    unsafe { libc::poll(polls.as_mut_ptr(), N as libc::nfds_t, -1) };
    polls.map(|poll| poll.revents != 0)
}
