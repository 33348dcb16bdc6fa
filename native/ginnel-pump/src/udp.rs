//! The UDP sockets: one for each family, on one port where that goes.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

/// Bytes of each socket buffer (tailscale: wgengine/magicsock/magicsock.go `socketBufferSize`).
const BUFFER: usize = 7 << 20;

const CONTROL: usize = 32;

#[repr(align(8))]
struct Control([u8; CONTROL]);

/// One socket, and what was learnt about it.
pub struct UdpSocket {
    socket: Socket,
    gso: AtomicBool,
}

impl UdpSocket {
    fn bind(v6: bool, port: u16, mark: u32) -> io::Result<UdpSocket> {
        let domain = if v6 { Domain::IPV6 } else { Domain::IPV4 };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        if v6 {
            socket.set_only_v6(true)?;
        }
        set_mark(&socket, mark)?;
        grow_buffers(&socket);
        let gro = set_option(&socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
        let address: SocketAddr = if v6 {
            (Ipv6Addr::UNSPECIFIED, port).into()
        } else {
            (Ipv4Addr::UNSPECIFIED, port).into()
        };
        socket.bind(&SockAddr::from(address))?;
        Ok(UdpSocket {
            socket,
            gso: AtomicBool::new(gro),
        })
    }

    /// A side socket: IPv4, any port, and nothing that only a socket with traffic is worth.
    pub fn side(mark: u32) -> io::Result<UdpSocket> {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        set_mark(&socket, mark)?;
        socket.bind(&SockAddr::from(SocketAddr::from((
            Ipv4Addr::UNSPECIFIED,
            0,
        ))))?;
        Ok(UdpSocket {
            socket,
            gso: AtomicBool::new(false),
        })
    }

    /// A peer's traffic goes by this side socket from now on.
    pub fn promote(&self) {
        if !self.gso() {
            grow_buffers(&self.socket);
            let gro = set_option(&self.socket, libc::SOL_UDP, libc::UDP_GRO, 1).is_ok();
            self.gso.store(gro, Ordering::Relaxed);
        }
    }

    /// Send one datagram; `ttl` 0 leaves the system's.
    pub fn send_one(&self, to: SocketAddr, packet: &[u8], ttl: u8) -> io::Result<()> {
        if ttl == 0 {
            return self.socket.send_to(packet, &SockAddr::from(to)).map(drop);
        }
        let (level, name) = match to {
            SocketAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_TTL),
            SocketAddr::V6(_) => (libc::IPPROTO_IPV6, libc::IPV6_HOPLIMIT),
        };
        let address = SockAddr::from(to);
        let mut vector = libc::iovec {
            iov_base: packet.as_ptr().cast_mut().cast(),
            iov_len: packet.len(),
        };
        let mut control = Control([0; CONTROL]);
        // SAFETY: all-zero is a valid `msghdr`; the fields that matter follow, and all they point to outlives the
        // call. The control buffer is aligned and holds one message with an int.
        let sent = unsafe {
            let mut header: libc::msghdr = std::mem::zeroed();
            header.msg_name = address.as_ptr().cast_mut().cast();
            header.msg_namelen = address.len();
            header.msg_iov = &raw mut vector;
            header.msg_iovlen = 1;
            header.msg_control = (&raw mut control.0).cast();
            header.msg_controllen = libc::CMSG_SPACE(size_of::<libc::c_int>() as u32) as _;
            let message = libc::CMSG_FIRSTHDR(&raw const header);
            (*message).cmsg_level = level;
            (*message).cmsg_type = name;
            (*message).cmsg_len = libc::CMSG_LEN(size_of::<libc::c_int>() as u32) as _;
            libc::CMSG_DATA(message)
                .cast::<libc::c_int>()
                .write_unaligned(libc::c_int::from(ttl));
            libc::sendmsg(self.socket.as_raw_fd(), &raw const header, 0)
        };
        match sent {
            ..0 => Err(io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// The port that it is bound to.
    pub fn port(&self) -> u16 {
        self.socket
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket())
            .map_or(0, |address| address.port())
    }

    /// Whether the kernel may be given several datagrams at once.
    pub fn gso(&self) -> bool {
        self.gso.load(Ordering::Relaxed)
    }

    /// Never again: its device cannot compute checksums.
    pub fn gso_failed(&self) {
        self.gso.store(false, Ordering::Relaxed);
    }
}

impl AsRawFd for UdpSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

/// Both sockets. IPv4 must be there; a system without IPv6 does without.
pub struct Sockets {
    /// IPv4.
    pub v4: UdpSocket,
    /// IPv6, if the system has it.
    pub v6: Option<UdpSocket>,
}

impl Sockets {
    /// Bind both to `port`; 0 lets the system choose. IPv6 takes IPv4's port if it can, another if not, and a system
    /// without IPv6 does without.
    pub fn bind(port: u16, mark: u32) -> io::Result<Sockets> {
        let v4 = UdpSocket::bind(false, port, mark)?;
        let v6 = UdpSocket::bind(true, v4.port(), mark)
            .or_else(|_| UdpSocket::bind(true, 0, mark))
            .ok();
        Ok(Sockets { v4, v6 })
    }

    /// The socket that reaches an address.
    pub fn towards(&self, address: SocketAddr) -> Option<&UdpSocket> {
        match address {
            SocketAddr::V4(_) => Some(&self.v4),
            SocketAddr::V6(_) => self.v6.as_ref(),
        }
    }

    /// Those that are there.
    pub fn each(&self) -> impl Iterator<Item = &UdpSocket> {
        std::iter::once(&self.v4).chain(&self.v6)
    }

    /// (IPv4 port, IPv6 port; 0: no such family).
    pub fn ports(&self) -> (u16, u16) {
        (self.v4.port(), self.v6.as_ref().map_or(0, UdpSocket::port))
    }
}

/// Mark a socket so that policy routing keeps it out of the tunnel. Without the right to, it goes unmarked.
pub fn set_mark(socket: &Socket, mark: u32) -> io::Result<()> {
    if mark == 0 {
        return Ok(());
    }
    match socket.set_mark(mark) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => Ok(()),
        result => result,
    }
}

/// The privileged option ignores the system's limit; without the right to it, the limit holds.
fn grow_buffers(socket: &Socket) {
    let size = BUFFER as libc::c_int;
    if set_option(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, size).is_err() {
        let _ = socket.set_recv_buffer_size(BUFFER);
    }
    if set_option(socket, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, size).is_err() {
        let _ = socket.set_send_buffer_size(BUFFER);
    }
}

fn set_option(
    socket: &Socket,
    level: libc::c_int,
    name: libc::c_int,
    value: libc::c_int,
) -> io::Result<()> {
    // SAFETY: the value is a live int and its size is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<libc::c_int>() as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
