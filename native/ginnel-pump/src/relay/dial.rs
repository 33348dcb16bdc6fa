//! From addresses to a TLS connection with a relay.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ginnel_tls::Verify;
use rustls::ClientConnection;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use crate::Key;
use crate::udp::set_mark;

/// For one address (tailscale: derp/derphttp/derphttp_client.go `dialNodeTimeout`).
const CONNECT_TIMEOUT: Duration = Duration::from_millis(1500);
/// For connecting, TLS and login together.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(10);
/// The connection is dead when nothing of what was sent is acknowledged for so long: its machine is gone.
const ACKNOWLEDGED_WITHIN: Duration = Duration::from_secs(4);
/// Unsent bytes that the kernel may hold: more would only wait there, out of reach of the queue's drop-oldest.
const NOT_SENT_MAX: u32 = 128 * 1024;

/// Where and how to connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// DNS name or IP address, for SNI, the certificate and the `Host` header.
    pub server_name: String,
    /// In order of preference.
    pub addresses: Vec<SocketAddr>,
    /// How its certificate is checked.
    pub verify: Verify,
}

/// Connect to the first address that answers. `stop` is asked between addresses.
pub fn connect(
    target: &Target,
    mark: u32,
    stop: impl Fn() -> bool,
) -> Result<(TcpStream, SocketAddr), String> {
    let mut why = "it has no address".to_owned();
    for address in &target.addresses {
        if stop() {
            return Err("closed".to_owned());
        }
        match connect_one(*address, mark) {
            Ok(stream) => return Ok((stream, *address)),
            Err(error) => why = format!("{address}: {error}"),
        }
    }
    Err(format!("cannot connect: {why}"))
}

fn connect_one(address: SocketAddr, mark: u32) -> io::Result<TcpStream> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    set_mark(&socket, mark)?;
    socket.connect_timeout(&SockAddr::from(address), CONNECT_TIMEOUT)?;
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_notsent_lowat(NOT_SENT_MAX)?;
    socket.set_tcp_user_timeout(Some(ACKNOWLEDGED_WITHIN))?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(Duration::from_secs(600)))?;
    Ok(socket.into())
}

/// TLS with the right relay, and its key if the certificates carry it and TLS is new enough for fast start.
pub fn secure(
    target: &Target,
    stream: &mut TcpStream,
    deadline: Instant,
) -> Result<(ClientConnection, Option<Key>), String> {
    let config = ginnel_tls::client_config(&target.verify)?;
    let name = ServerName::try_from(target.server_name.clone())
        .map_err(|_| format!("{:?} is no host name", target.server_name))?;
    let mut tls = ClientConnection::new(Arc::new(config), name).map_err(|e| e.to_string())?;
    while tls.is_handshaking() {
        limit_waiting(stream, deadline).map_err(|e| e.to_string())?;
        tls.complete_io(stream).map_err(|e| format!("TLS: {e}"))?;
    }
    let relay_key = ginnel_tls::fast_start_key(&tls);
    Ok((tls, relay_key))
}

/// Whether the kernel has bytes that the other end has not acknowledged.
pub fn on_the_way(stream: &TcpStream) -> bool {
    let mut bytes: libc::c_int = 0;
    // SAFETY: the descriptor is open as long as `stream` is, and TIOCOUTQ writes one int.
    let result = unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
    result == 0 && bytes > 0
}

/// Reads and writes fail once the deadline is over.
pub fn limit_waiting(stream: &TcpStream, deadline: Instant) -> io::Result<()> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    stream.set_read_timeout(Some(left))?;
    stream.set_write_timeout(Some(left))
}
