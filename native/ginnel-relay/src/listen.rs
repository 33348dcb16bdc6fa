//! Listening sockets.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;

use socket2::{Domain, Protocol, Socket, Type};

use crate::config::RelayError;
use crate::inherited;

const BACKLOG: i32 = 1024;

pub(crate) fn listen_all(
    what: &'static str,
    addresses: &[SocketAddr],
    inherited: &mut Vec<OwnedFd>,
) -> Result<Vec<TcpListener>, RelayError> {
    addresses
        .iter()
        .map(|&address| {
            let both = takes_both(address, addresses);
            let listening = match inherited::take(inherited, address, Type::STREAM) {
                Ok(Some(socket)) => Ok(socket.into()),
                Ok(None) => listen(address, both),
                Err(error) => Err(error),
            };
            listening.map_err(|source| RelayError::Listen {
                what,
                address,
                source,
            })
        })
        .collect()
}

/// `[::]` takes IPv4 as well, so that one address is enough for a host with both; unless `0.0.0.0` is asked for too.
pub(crate) fn takes_both(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let same_in_v4 = |other: &SocketAddr| other.is_ipv4() && other.port() == address.port();
    address.is_ipv6() && address.ip().is_unspecified() && !all.iter().any(same_in_v4)
}

fn listen(address: SocketAddr, both: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(!both)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

pub(crate) fn addresses(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
}
