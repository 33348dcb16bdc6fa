//! Sockets and thread of the STUN server.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};

use super::batch::{Batch, Turn};
use super::share::Shares;
use crate::config::RelayError;
use crate::counters::Counters;
use crate::inherited;
use crate::listen::takes_both;
use crate::relay::Shared;
use crate::wake::{event, ring};

/// Room for a burst of a few thousand requests while the thread waits for the processor.
const RECEIVE_BUFFER: usize = 4 << 20;

pub(crate) struct StunServer {
    addresses: Vec<SocketAddr>,
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl StunServer {
    /// None if there is nowhere to listen.
    pub(crate) fn start(
        at: &[SocketAddr],
        shared: Arc<Shared>,
        inherited: &mut Vec<OwnedFd>,
    ) -> Result<Option<Self>, RelayError> {
        if at.is_empty() {
            return Ok(None);
        }
        let bind_one = |&address: &SocketAddr| {
            let given = inherited::take(inherited, address, Type::DGRAM);
            let bound = given.and_then(|given| bind(address, takes_both(address, at), given));
            bound.map_err(|source| RelayError::Listen {
                what: "stun",
                address,
                source,
            })
        };
        let sockets: Vec<UdpSocket> = at.iter().map(bind_one).collect::<Result<_, _>>()?;
        let addresses = sockets
            .iter()
            .map(UdpSocket::local_addr)
            .collect::<io::Result<_>>()?;
        let stop = Arc::new(event()?);
        let stopped = stop.clone();
        let thread = std::thread::Builder::new()
            .name("relay-stun".into())
            .spawn(move || serve(&sockets, stopped.as_raw_fd(), &shared))?;
        Ok(Some(Self {
            addresses,
            stop,
            thread: Some(thread),
        }))
    }

    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }
}

impl Drop for StunServer {
    fn drop(&mut self) {
        ring(&self.stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// `given`: a socket that is bound already.
fn bind(address: SocketAddr, both: bool, given: Option<Socket>) -> io::Result<UdpSocket> {
    let bound = given.is_some();
    let socket = match given {
        Some(socket) => socket,
        None => Socket::new(
            Domain::for_address(address),
            Type::DGRAM,
            Some(Protocol::UDP),
        )?,
    };
    socket.set_nonblocking(true)?;
    match address {
        SocketAddr::V4(_) => set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO)?,
        SocketAddr::V6(_) => {
            if !bound {
                socket.set_only_v6(!both)?;
            }
            set_option(&socket, libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)?;
        }
    }
    // As much as the system allows; less is no reason not to serve.
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    if !bound {
        socket.bind(&address.into())?;
    }
    Ok(socket.into())
}

fn set_option(socket: &Socket, level: i32, name: i32) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the option takes an int, which is alive during the call and of the stated size.
    match unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const on).cast(),
            size,
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn serve(sockets: &[UdpSocket], stop: RawFd, shared: &Shared) {
    let poll_in = |fd: RawFd| libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    let mut polled: Vec<libc::pollfd> = sockets
        .iter()
        .map(|socket| poll_in(socket.as_raw_fd()))
        .collect();
    polled.push(poll_in(stop));
    let ports: Vec<u16> = sockets
        .iter()
        .map(|socket| socket.local_addr().map_or(0, |address| address.port()))
        .collect();
    let mut batch = Batch::new();
    let limits = &shared.limits;
    let mut shares = Shares::new(limits.stun_rate, limits.limit_loopback, Instant::now());
    loop {
        // SAFETY: the slice is alive during the call and of the stated length.
        let ready = unsafe { libc::poll(polled.as_mut_ptr(), polled.len() as libc::nfds_t, -1) };
        if ready < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return;
        }
        if polled.last().is_some_and(|stop| stop.revents != 0) {
            return;
        }
        for (entry, &port) in polled.iter().zip(&ports) {
            if entry.revents == 0 {
                continue;
            }
            // An error here is a late ICMP answer or nothing to read; the next poll tells.
            if let Ok(turn) = batch.turn(entry.fd, port, &mut shares) {
                count(turn, &shared.counters);
            }
        }
    }
}

fn count(turn: Turn, counters: &Counters) {
    counters.stun_answered.add(turn.answered as u64);
    counters.stun_unsent.add(turn.unsent as u64);
    counters.stun_limited.add(turn.limited as u64);
    counters
        .stun_ignored
        .add((turn.received - turn.answered - turn.unsent - turn.limited) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUEST: [u8; 40] = *b"\0\x01\0\x14\x21\x12\xa4\x42\0\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x80\x22\0\x08tailnode\x80\x28\0\x04\x8a\xab\xad\x90";

    fn turn(socket: &UdpSocket) -> Turn {
        let port = socket.local_addr().unwrap().port();
        let mut shares = Shares::new(0, false, Instant::now());
        Batch::new()
            .turn(socket.as_raw_fd(), port, &mut shares)
            .unwrap()
    }

    #[test]
    fn a_request_from_our_own_address_is_not_answered() {
        for address in ["127.0.0.1:0", "[::1]:0", "[::]:0"] {
            let socket = bind(address.parse().unwrap(), true, None).unwrap();
            let port = socket.local_addr().unwrap().port();
            let host = if address.starts_with("127") {
                "127.0.0.1"
            } else {
                "::1"
            };
            let other = UdpSocket::bind((host, 0)).unwrap();
            socket.send_to(&REQUEST, (host, port)).unwrap();
            other.send_to(&REQUEST, (host, port)).unwrap();
            let turn = turn(&socket);
            assert_eq!((turn.received, turn.answered), (2, 1), "{address}");
        }
    }
}
