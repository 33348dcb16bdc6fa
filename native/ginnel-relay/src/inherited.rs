//! Sockets that were opened before this process, by who started it: connections that come while one process ends and
//! the next begins wait in them, and none is refused (systemd: sd_listen_fds(3)).

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use socket2::{Socket, Type};

/// Take the socket of this address and type out of `given`; None if there is none.
pub(crate) fn take(
    given: &mut Vec<OwnedFd>,
    address: SocketAddr,
    kind: Type,
) -> io::Result<Option<Socket>> {
    let Some(at) = given.iter().position(|fd| fits(fd, address, kind)) else {
        return Ok(None);
    };
    let socket = Socket::from(given.swap_remove(at));
    socket.set_nonblocking(true)?;
    socket.set_cloexec(true)?;
    Ok(Some(socket))
}

fn fits(fd: &OwnedFd, address: SocketAddr, kind: Type) -> bool {
    let socket = socket2::SockRef::from(fd);
    let bound = socket.local_addr().ok().and_then(|bound| bound.as_socket());
    socket.r#type().is_ok_and(|found| found == kind) && bound == Some(address)
}
