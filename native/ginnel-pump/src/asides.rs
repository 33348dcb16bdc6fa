//! What Python must see, in a bounded queue with a descriptor that wakes its loop.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use parking_lot::Mutex;

use crate::Key;

/// Asides that wait at most; further ones are dropped and counted.
pub const ASIDES_MAX: usize = 4096;

/// By which way something came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// By UDP.
    Endpoint(SocketAddr),
    /// By UDP, to the side socket of this number.
    Side(SocketAddr, u32),
    /// By a relay's region.
    Region(u32),
}

/// One thing that needs a decision or is worth knowing. The number behind a UDP address is the side socket's, 0 for the
/// tunnel's own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Aside {
    Disco(SocketAddr, u32, Vec<u8>),
    Stun(SocketAddr, u32, Vec<u8>),
    RelayedDisco(u32, Key, Vec<u8>),
    Sent(Key),
    Received(Key, Origin),
    Handshake(Key),
    PeerDisco(Key, Key),
    Unsendable(SocketAddr, u32, i32),
    RelayWanted(u32),
    RelayUp(u32, Key, SocketAddr),
    RelayDown(u32, String, bool),
    RelayStayed(u32, String),
    RelayGone(u32, Key, u8),
    RelayHealth(u32, String),
    RelayRestarting(u32, u32, u32),
}

/// The queue.
pub struct Asides {
    queue: Mutex<VecDeque<Aside>>,
    wake: OwnedFd,
}

impl Asides {
    /// An empty queue.
    pub fn new() -> io::Result<Asides> {
        Ok(Asides {
            queue: Mutex::new(VecDeque::new()),
            wake: eventfd()?,
        })
    }

    /// Queue one; false when the queue is full.
    pub fn push(&self, aside: Aside) -> bool {
        let mut queue = self.queue.lock();
        if queue.len() >= ASIDES_MAX {
            return false;
        }
        queue.push_back(aside);
        if queue.len() == 1 {
            ring(&self.wake);
        }
        true
    }

    /// Take up to `limit`, oldest first.
    pub fn drain(&self, limit: usize) -> Vec<Aside> {
        let mut queue = self.queue.lock();
        let taken = limit.min(queue.len());
        let asides = queue.drain(..taken).collect();
        if queue.is_empty() {
            silence(&self.wake);
        }
        asides
    }

    /// Readable while something waits.
    pub fn as_raw_fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }
}

/// A non-blocking event descriptor.
pub fn eventfd() -> io::Result<OwnedFd> {
    // SAFETY: no pointers; the result is checked and owned by nobody else.
    let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: `fd` is a fresh descriptor that we own.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Make an event descriptor readable.
pub fn ring(fd: &OwnedFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: 8 bytes are read from a live array. It can only fail when the counter is full: then it is readable.
    unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), 8) };
}

/// Make it unreadable again.
pub fn silence(fd: &OwnedFd) {
    let mut count = [0u8; 8];
    // SAFETY: 8 bytes are written to a live array. It can only fail when nothing was there.
    unsafe { libc::read(fd.as_raw_fd(), count.as_mut_ptr().cast(), 8) };
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readable(asides: &Asides) -> bool {
        let mut poll = libc::pollfd {
            fd: asides.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live pollfd.
        unsafe { libc::poll(&mut poll, 1, 0) == 1 }
    }

    #[test]
    fn the_descriptor_is_readable_exactly_while_something_waits() {
        let asides = Asides::new().unwrap();
        assert!(!readable(&asides));
        for region in 0..3 {
            assert!(asides.push(Aside::RelayWanted(region)));
        }
        assert_eq!(asides.drain(2).len(), 2);
        assert!(readable(&asides));
        assert_eq!(asides.drain(9), [Aside::RelayWanted(2)]);
        assert!(!readable(&asides));
    }

    #[test]
    fn a_full_queue_refuses() {
        let asides = Asides::new().unwrap();
        for region in 0..ASIDES_MAX as u32 {
            assert!(asides.push(Aside::RelayWanted(region)));
        }
        assert!(!asides.push(Aside::RelayWanted(0)));
    }
}
