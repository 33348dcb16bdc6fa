//! Reads datagrams in batches, several of one sender in each message where the kernel glues them (UDP_GRO).

use std::io;
use std::mem::{MaybeUninit, zeroed};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use bytes::BytesMut;
use socket2::SockAddr;

use crate::udp::UdpSocket;

/// Messages in one call. Each may hold 64 datagrams.
const MESSAGES: usize = 16;
/// The largest glued message.
const MESSAGE_MAX: usize = 65536;
const CONTROL: usize = 64;

/// Buffers for one thread that receives.
pub struct Receiver {
    slots: Vec<BytesMut>,
    addresses: Vec<libc::sockaddr_storage>,
    controls: Vec<Control>,
}

#[repr(align(8))]
#[derive(Clone, Copy)]
struct Control(
    #[allow(
        dead_code,
        reason = "the kernel writes it, and it is read through msghdr"
    )]
    [u8; CONTROL],
);

impl Receiver {
    /// With buffers for one batch.
    pub fn new() -> Receiver {
        Receiver {
            slots: (0..MESSAGES)
                .map(|_| BytesMut::zeroed(MESSAGE_MAX))
                .collect(),
            // SAFETY: all-zero is a valid `sockaddr_storage` of family AF_UNSPEC.
            addresses: vec![unsafe { zeroed() }; MESSAGES],
            controls: vec![Control([0; CONTROL]); MESSAGES],
        }
    }

    /// Take what has arrived, without waiting, and hand over each datagram. Returns how many messages there were.
    pub fn receive(
        &mut self,
        socket: &UdpSocket,
        mut each: impl FnMut(SocketAddr, BytesMut),
    ) -> io::Result<usize> {
        let mut vectors: [libc::iovec; MESSAGES] = std::array::from_fn(|n| {
            refill(&mut self.slots[n]);
            libc::iovec {
                iov_base: self.slots[n].as_mut_ptr().cast(),
                iov_len: MESSAGE_MAX,
            }
        });
        let mut headers: [libc::mmsghdr; MESSAGES] = std::array::from_fn(|n| {
            // SAFETY: all-zero is a valid `mmsghdr`; the fields that matter follow.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_name = (&raw mut self.addresses[n]).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_hdr.msg_iov = &raw mut vectors[n];
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = (&raw mut self.controls[n]).cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
            header
        });
        // SAFETY: every pointer in `headers` is to a live buffer of the length told.
        let got = unsafe {
            libc::recvmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                MESSAGES as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        if got < 0 {
            let error = io::Error::last_os_error();
            return match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => Ok(0),
                _ => Err(error),
            };
        }
        for (n, header) in headers.iter().enumerate().take(got as usize) {
            let Some(source) = address_of(&self.addresses[n], header.msg_hdr.msg_namelen) else {
                continue;
            };
            let mut message = self.slots[n].split_to(header.msg_len as usize);
            let size = segment_size(&header.msg_hdr).unwrap_or(message.len());
            while size > 0 && message.len() > size {
                each(source, message.split_to(size));
            }
            each(source, message);
        }
        Ok(got as usize)
    }
}

impl Default for Receiver {
    fn default() -> Receiver {
        Receiver::new()
    }
}

/// Make a slot whole again: the same memory once nobody holds a piece of it.
fn refill(slot: &mut BytesMut) {
    if slot.len() == MESSAGE_MAX {
        return;
    }
    slot.clear();
    if slot.try_reclaim(MESSAGE_MAX) {
        // SAFETY: the slot was zeroed in full when it was made, so every byte of its capacity is initialised.
        unsafe { slot.set_len(MESSAGE_MAX) };
    } else {
        *slot = BytesMut::zeroed(MESSAGE_MAX);
    }
}

fn address_of(storage: &libc::sockaddr_storage, len: libc::socklen_t) -> Option<SocketAddr> {
    // SAFETY: the kernel wrote `len` bytes of a socket address, and the rest was valid before.
    let address = unsafe {
        SockAddr::try_init(|to, to_len| {
            to.cast::<MaybeUninit<libc::sockaddr_storage>>()
                .write(MaybeUninit::new(*storage));
            *to_len = len;
            Ok(())
        })
    };
    address.ok()?.1.as_socket()
}

/// The size of the glued datagrams, if the message is more than one.
fn segment_size(header: &libc::msghdr) -> Option<usize> {
    // SAFETY: the kernel has filled the control buffer and told its length in `header`.
    unsafe {
        let mut control = libc::CMSG_FIRSTHDR(header);
        while !control.is_null() {
            if (*control).cmsg_level == libc::SOL_UDP && (*control).cmsg_type == libc::UDP_GRO {
                let size = libc::CMSG_DATA(control)
                    .cast::<libc::c_int>()
                    .read_unaligned();
                return usize::try_from(size).ok();
            }
            control = libc::CMSG_NXTHDR(header, control);
        }
    }
    None
}
