//! Side sockets: further UDP sockets with NAT mappings of their own, for the time that a search for a path needs them.
//!
//! Python opens them by the hundred, sends single packets by them, keeps the one that found a path and closes the
//! rest. One thread waits for all of them (epoll), so idle ones cost nothing, and the tunnel's own sockets never see
//! them. IPv4 alone: where there is IPv6 there is no NAT to get through.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use parking_lot::RwLock;

use crate::inbound::{Inbound, take_datagram};
use crate::peer::NEVER_BY_UDP;
use crate::receive::Receiver;
use crate::shared::Shared;
use crate::udp::UdpSocket;

/// Side sockets at most.
pub const SIDE_MAX: usize = 1024;
/// Descriptors of the process that are left for everything else.
const DESCRIPTORS_LEFT: u64 = 128;
/// Sockets served in one turn.
const EVENTS: usize = 64;
/// What epoll tells when the pump stops; no socket has this number.
const STOP: u64 = 0;

/// The open ones by number, and what waits for them all.
pub struct SideSockets {
    table: RwLock<HashMap<u32, Arc<UdpSocket>>>,
    poll: OwnedFd,
    last: AtomicU32,
}

impl SideSockets {
    /// None is open yet.
    pub fn new() -> io::Result<SideSockets> {
        // SAFETY: no pointers; the result is checked and owned by nobody else.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(SideSockets {
            table: RwLock::default(),
            // SAFETY: `fd` is a fresh descriptor that we own.
            poll: unsafe { OwnedFd::from_raw_fd(fd) },
            last: AtomicU32::new(0),
        })
    }

    /// Wake the thread for good once this descriptor is readable.
    pub fn stop_by(&self, stop: &OwnedFd) -> io::Result<()> {
        self.watch(stop.as_raw_fd(), STOP)
    }

    /// Open up to `count` sockets on ports that the system chooses. Returns (number, port) of those that could be had:
    /// fewer when SIDE_MAX or the process's limit of descriptors is near.
    pub fn open(&self, count: usize, mark: u32) -> Vec<(u32, u16)> {
        let mut opened = Vec::new();
        let limit = descriptors().saturating_sub(DESCRIPTORS_LEFT);
        let mut table = self.table.write();
        while opened.len() < count && table.len() < SIDE_MAX {
            let Ok(socket) = UdpSocket::side(mark) else {
                break;
            };
            // The kernel gives the lowest free number, so a high one means that many are in use.
            if socket.as_raw_fd() as u64 >= limit {
                break;
            }
            let number = self.next_number(&table);
            if self.watch(socket.as_raw_fd(), u64::from(number)).is_err() {
                break;
            }
            opened.push((number, socket.port()));
            table.insert(number, Arc::new(socket));
        }
        opened
    }

    /// Close these; numbers that are not open are passed over.
    pub fn close(&self, numbers: &[u32]) {
        let mut table = self.table.write();
        for number in numbers {
            table.remove(number);
        }
    }

    /// Close all.
    pub fn close_all(&self) {
        self.table.write().clear();
    }

    /// An open one.
    pub fn get(&self, number: u32) -> Option<Arc<UdpSocket>> {
        self.table.read().get(&number).cloned()
    }

    /// Whether one of them is bound to this port.
    pub fn has_port(&self, port: u16) -> bool {
        self.table.read().values().any(|open| open.port() == port)
    }

    fn next_number(&self, table: &HashMap<u32, Arc<UdpSocket>>) -> u32 {
        loop {
            let number = self.last.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if number != 0 && number != NEVER_BY_UDP && !table.contains_key(&number) {
                return number;
            }
        }
    }

    /// A closed descriptor leaves the set by itself.
    fn watch(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event {
            events: libc::EPOLLIN as u32,
            u64: token,
        };
        // SAFETY: `event` lives until the call returns.
        let result = unsafe {
            libc::epoll_ctl(
                self.poll.as_raw_fd(),
                libc::EPOLL_CTL_ADD,
                fd,
                &raw mut event,
            )
        };
        match result {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// Wait until some are readable; their numbers. Empty when the pump stops.
    fn readable(&self) -> Vec<u32> {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; EVENTS];
        // SAFETY: the array is live and its length is told.
        let ready = unsafe {
            libc::epoll_wait(
                self.poll.as_raw_fd(),
                events.as_mut_ptr(),
                EVENTS as i32,
                -1,
            )
        };
        events[..usize::try_from(ready).unwrap_or(0)]
            .iter()
            .map(|event| event.u64)
            .filter(|token| *token != STOP)
            .map(|token| token as u32)
            .collect()
    }
}

/// How many descriptors the process may have.
fn descriptors() -> u64 {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limit` is live.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } {
        0 => limit.rlim_cur,
        _ => 0,
    }
}

/// State of the thread that reads side sockets.
pub struct SideInbound {
    inbound: Inbound,
    receiver: Receiver,
}

impl SideInbound {
    /// Ready to run.
    pub fn new() -> SideInbound {
        SideInbound {
            inbound: Inbound::default(),
            receiver: Receiver::new(),
        }
    }

    /// Carry what waits; wait first if nothing does. A batch of each socket in turn: what is left is told again.
    pub fn turn(&mut self, shared: &Shared) {
        for number in shared.sides.readable() {
            if let Some(socket) = shared.sides.get(number) {
                self.receive(shared, &socket, number);
            }
        }
    }

    fn receive(&mut self, shared: &Shared, socket: &UdpSocket, number: u32) {
        let now = Instant::now();
        let inbound = &mut self.inbound;
        // An error (a pending ICMP error, say) was consumed by the call.
        let _ = self.receiver.receive(socket, |source, datagram| {
            take_datagram(shared, inbound, source, number, datagram, now);
        });
        self.inbound.flush(shared, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket as StdSocket;

    #[test]
    fn what_arrives_is_told_by_the_socket_s_number_and_a_closed_one_is_silent() {
        let sides = SideSockets::new().unwrap();
        let opened = sides.open(3, 0);
        assert_eq!(opened.len(), 3);
        let other = StdSocket::bind("127.0.0.1:0").unwrap();
        other.send_to(b"x", ("127.0.0.1", opened[1].1)).unwrap();
        assert_eq!(sides.readable(), [opened[1].0]);
        sides.close(&[opened[1].0, 99]);
        assert!(sides.get(opened[1].0).is_none());
        other.send_to(b"x", ("127.0.0.1", opened[2].1)).unwrap();
        assert_eq!(sides.readable(), [opened[2].0]);
        assert!(sides.has_port(opened[0].1) && !sides.has_port(opened[1].1));
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let sides = SideSockets::new().unwrap();
        let opened = sides.open(SIDE_MAX + 5, 0);
        assert!(opened.len() <= SIDE_MAX);
        assert!(sides.open(1, 0).len() + opened.len() <= SIDE_MAX);
        sides.close_all();
        assert_eq!(sides.open(2, 0).len(), 2);
    }

    #[test]
    fn a_time_to_live_is_set_for_one_packet_alone() {
        let sides = SideSockets::new().unwrap();
        let opened = sides.open(1, 0);
        let socket = sides.get(opened[0].0).unwrap();
        let there = StdSocket::bind("127.0.0.1:0").unwrap();
        let to = there.local_addr().unwrap();
        for ttl in [3, 0] {
            socket.send_one(to, b"opener", ttl).unwrap();
            let mut buffer = [0; 16];
            assert_eq!(there.recv(&mut buffer).unwrap(), 6);
        }
        assert_eq!(socket2::SockRef::from(&there).ttl_v4().unwrap(), 64);
    }
}
