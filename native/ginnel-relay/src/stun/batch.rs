//! recvmmsg and sendmmsg: many datagrams for each system call, each answered from the address that was asked
//! (IP_PKTINFO, IPV6_PKTINFO: a host may have several).

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::RawFd;
use std::time::Instant;

use super::answer::{MAX_ANSWER_SIZE, answer, cost};
use super::share::Shares;

const BATCH: usize = 64;
/// One byte more than a request has, so that longer ones show.
const ROOM: usize = 64;
/// Control bytes of one packet info with its header, aligned as `cmsghdr` has to be.
const CONTROL: usize = 64;

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Slot {
    name: libc::sockaddr_storage,
    control: [u8; CONTROL],
    packet: [u8; ROOM],
}

/// Buffers of a batch. The pointers in `headers` and `vectors` point into the boxed slices, which never move.
pub(super) struct Batch {
    slots: Box<[Slot]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
}

/// What came of a turn.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Turn {
    pub(super) received: usize,
    pub(super) answered: usize,
    pub(super) unsent: usize,
    /// Requests of places that have had their share.
    pub(super) limited: usize,
}

impl Batch {
    pub(super) fn new() -> Self {
        // SAFETY: all three are plain C structs of integers, arrays and raw pointers; zeros are valid values.
        let (slot, vector, header) = unsafe {
            (
                zeroed::<Slot>(),
                zeroed::<libc::iovec>(),
                zeroed::<libc::mmsghdr>(),
            )
        };
        Self {
            slots: vec![slot; BATCH].into(),
            vectors: vec![vector; BATCH].into(),
            headers: vec![header; BATCH].into(),
        }
    }

    /// Receive what is there, up to a batch, and answer it. `port` is the socket's own.
    pub(super) fn turn(
        &mut self,
        socket: RawFd,
        port: u16,
        shares: &mut Shares,
    ) -> io::Result<Turn> {
        let received = self.receive(socket)?;
        let (answers, limited) = self.write_answers(received, port, shares);
        let sent = self.send(socket, answers);
        Ok(Turn {
            received,
            answered: sent,
            unsent: answers - sent,
            limited,
        })
    }

    fn receive(&mut self, socket: RawFd) -> io::Result<usize> {
        for index in 0..BATCH {
            let slot = &mut self.slots[index];
            self.vectors[index] = libc::iovec {
                iov_base: slot.packet.as_mut_ptr().cast(),
                iov_len: ROOM,
            };
            let header = &mut self.headers[index].msg_hdr;
            header.msg_name = (&raw mut slot.name).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = &raw mut self.vectors[index];
            header.msg_iovlen = 1;
            header.msg_control = slot.control.as_mut_ptr().cast();
            header.msg_controllen = CONTROL;
            header.msg_flags = 0;
        }
        // SAFETY: each header points to a name, one vector and control bytes of the stated lengths, all alive and
        // not otherwise borrowed during the call.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                self.headers.as_mut_ptr(),
                BATCH as u32,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    /// Turn requests into answers in place and move these to the front; returns their number, and that of requests
    /// over the limit.
    fn write_answers(&mut self, received: usize, port: u16, shares: &mut Shares) -> (usize, usize) {
        let (mut answers, mut limited) = (0, 0);
        let now = Instant::now();
        for index in 0..received {
            let size = self.headers[index].msg_len as usize;
            let slot = &mut self.slots[index];
            let Some(source) = source(&slot.name) else {
                continue;
            };
            let mut out = [0; MAX_ANSWER_SIZE];
            let Some(packet) = slot.packet.get(..size) else {
                continue;
            };
            let Some(size) = answer(packet, source, &mut out) else {
                continue;
            };
            let cost = cost(packet);
            // Whoever claims our own address would have us talk to ourselves.
            if source.port() == port
                && asked(&self.headers[index].msg_hdr) == Some(source.ip().to_canonical())
            {
                continue;
            }
            if !shares.take(source.ip(), cost, now) {
                limited += 1;
                continue;
            }
            slot.packet[..size].copy_from_slice(&out[..size]);
            self.vectors[index].iov_len = size;
            // The control bytes that came say which address was asked; the same bytes, sent, choose it as the
            // source. The interface is left to the routing table, as it may differ on the way back.
            clear_interface(&mut self.headers[index].msg_hdr);
            self.headers.swap(answers, index);
            answers += 1;
        }
        (answers, limited)
    }

    fn send(&mut self, socket: RawFd, answers: usize) -> usize {
        let mut at = 0;
        let mut sent = 0;
        while at < answers {
            let rest = &mut self.headers[at..answers];
            // SAFETY: as in `receive`; swapping headers moves no buffer they point to.
            let count = unsafe {
                libc::sendmmsg(
                    socket,
                    rest.as_mut_ptr(),
                    rest.len() as u32,
                    libc::MSG_DONTWAIT,
                )
            };
            match usize::try_from(count) {
                Ok(count) if count > 0 => {
                    sent += count;
                    at += count;
                }
                // The first of the rest can't be sent (no route, full): the ones behind it may.
                _ => at += 1,
            }
        }
        sent
    }
}

fn source(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match i32::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the kernel wrote a sockaddr_in, as the family says; the storage is larger and aligned for it.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddrV4::new(ip, u16::from_be(name.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: the kernel wrote a sockaddr_in6, as the family says; the storage is larger and aligned for it.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id).into())
        }
        _ => None,
    }
}

/// The local address that a packet came to.
fn asked(header: &libc::msghdr) -> Option<IpAddr> {
    // SAFETY: as in `clear_interface`.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if message.is_null() {
            return None;
        }
        match ((*message).cmsg_level, (*message).cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let info = &*libc::CMSG_DATA(message).cast::<libc::in_pktinfo>();
                let address = u32::from_be(info.ipi_spec_dst.s_addr);
                Some(Ipv4Addr::from(address).into())
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info = &*libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>();
                Some(IpAddr::from(info.ipi6_addr.s6_addr).to_canonical())
            }
            _ => None,
        }
    }
}

/// Link-local IPv6 keeps its interface: the address means nothing without it.
fn clear_interface(header: &mut libc::msghdr) {
    // SAFETY: the kernel wrote control messages of `msg_controllen` bytes at `msg_control`, which is aligned; the
    // macros stay within them, and each level and type says which struct is there.
    unsafe {
        let message = libc::CMSG_FIRSTHDR(header);
        if message.is_null() {
            header.msg_control = std::ptr::null_mut();
            header.msg_controllen = 0;
            return;
        }
        match ((*message).cmsg_level, (*message).cmsg_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let info = &mut *libc::CMSG_DATA(message).cast::<libc::in_pktinfo>();
                // What was written on the packet may be a broadcast; ipi_spec_dst, which is sent from, never is.
                info.ipi_ifindex = 0;
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let info = &mut *libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>();
                if info.ipi6_addr.s6_addr[..2] != [0xfe, 0x80] {
                    info.ipi6_ifindex = 0;
                }
            }
            _ => {}
        }
    }
}
