//! Writes datagrams in batches, several for one peer in each message where the kernel cuts them (UDP_SEGMENT).

use std::io;
use std::mem::zeroed;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use bytes::BytesMut;
use socket2::SockAddr;

use crate::asides::Aside;
use crate::counters::Count;
use crate::shared::Shared;
use crate::udp::{Sockets, UdpSocket};

/// Datagrams in one message at most (Linux: UDP_MAX_SEGMENTS was 64 before 6.9).
const SEGMENTS_MAX: usize = 64;
/// Bytes of one message at most: what an IPv4 datagram can hold.
const MESSAGE_MAX: usize = 65507;
/// Messages in one call at most.
const MESSAGES: usize = 32;
const CONTROL: usize = 32;

/// Datagrams that wait to be sent together, by the tunnel's own sockets and by side sockets.
#[derive(Default)]
pub struct Sender {
    main: Batch,
    sides: Vec<(u32, Batch)>,
}

/// Datagrams that wait, in their order.
#[derive(Default)]
struct Batch {
    waiting: Vec<(SocketAddr, BytesMut)>,
}

/// Datagrams `first..first + count` of the waiting ones, all for one address.
#[derive(Clone, Copy)]
struct Run {
    first: usize,
    count: usize,
}

#[repr(align(8))]
struct Control([u8; CONTROL]);

impl Sender {
    /// Queue a datagram.
    pub fn push(&mut self, to: SocketAddr, datagram: BytesMut) {
        self.main.waiting.push((to, datagram));
    }

    /// Queue datagrams for one address.
    pub fn extend(&mut self, to: SocketAddr, datagrams: impl Iterator<Item = BytesMut>) {
        self.main
            .waiting
            .extend(datagrams.map(|datagram| (to, datagram)));
    }

    /// Queue datagrams for one address, to go by a side socket.
    pub fn extend_side(
        &mut self,
        socket: u32,
        to: SocketAddr,
        datagrams: impl Iterator<Item = BytesMut>,
    ) {
        let at = self.sides.iter().position(|(number, _)| *number == socket);
        let at = at.unwrap_or_else(|| {
            self.sides.push((socket, Batch::default()));
            self.sides.len() - 1
        });
        let batch = &mut self.sides[at].1;
        batch
            .waiting
            .extend(datagrams.map(|datagram| (to, datagram)));
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        let sides = self.sides.iter().map(|(_, batch)| batch.waiting.len());
        self.main.waiting.len() + sides.sum::<usize>()
    }

    /// Send everything. What cannot be sent is told and dropped.
    pub fn flush(&mut self, shared: &Shared) {
        self.main.flush(shared);
        for (number, mut batch) in self.sides.drain(..) {
            batch.flush_side(shared, number);
        }
    }
}

impl Batch {
    fn flush_side(&mut self, shared: &Shared, number: u32) {
        match shared.sides.get(number) {
            Some(socket) => self.send_all(shared, &socket, number, 0..self.waiting.len()),
            None => {
                for (to, _) in &self.waiting {
                    unsendable(shared, *to, number, libc::EADDRNOTAVAIL);
                }
            }
        }
    }

    fn flush(&mut self, shared: &Shared) {
        if self.waiting.is_empty() {
            return;
        }
        let sockets = shared.sockets.load();
        match sockets.as_deref() {
            Some(sockets) => self.send_families(shared, sockets),
            None => shared
                .counters
                .many(Count::UdpWriteError, self.waiting.len()),
        }
        self.waiting.clear();
    }

    fn send_families(&self, shared: &Shared, sockets: &Sockets) {
        let mut first = 0;
        while first < self.waiting.len() {
            let to = self.waiting[first].0;
            let count = self.waiting[first..]
                .iter()
                .take_while(|(other, _)| other.is_ipv4() == to.is_ipv4())
                .count();
            match sockets.towards(to) {
                Some(socket) => self.send_all(shared, socket, 0, first..first + count),
                None => unsendable(shared, to, 0, libc::EAFNOSUPPORT),
            }
            first += count;
        }
    }

    fn send_all(
        &self,
        shared: &Shared,
        socket: &UdpSocket,
        number: u32,
        range: std::ops::Range<usize>,
    ) {
        let mut runs = self.runs(range, socket.gso());
        let mut at = 0;
        while at < runs.len() {
            let some = &runs[at..runs.len().min(at + MESSAGES)];
            match self.send_some(socket, some) {
                Ok(sent) => {
                    let datagrams = some[..sent].iter().map(|run| run.count).sum();
                    shared.counters.one(Count::UdpWrites);
                    shared.counters.many(Count::UdpOut, datagrams);
                    at += sent;
                }
                Err(error) => {
                    let run = runs[at];
                    if run.count > 1 {
                        // EIO: the device cannot do checksums. Others (EINVAL, EMSGSIZE): too large for this route.
                        if error.raw_os_error() == Some(libc::EIO) {
                            socket.gso_failed();
                            shared.counters.one(Count::UdpGsoOff);
                        }
                        let single =
                            (run.first..run.first + run.count).map(|first| Run { first, count: 1 });
                        runs.splice(at..=at, single);
                    } else {
                        let errno = error.raw_os_error().unwrap_or(0);
                        unsendable(shared, self.waiting[run.first].0, number, errno);
                        at += 1;
                    }
                }
            }
        }
    }

    /// Cut the waiting datagrams into messages: one address, equal sizes, only the last one shorter.
    fn runs(&self, range: std::ops::Range<usize>, gso: bool) -> Vec<Run> {
        let mut runs = Vec::new();
        let mut first = range.start;
        while first < range.end {
            let (to, head) = &self.waiting[first];
            let (mut count, mut bytes) = (1, head.len());
            while gso && first + count < range.end && count < SEGMENTS_MAX {
                let (other, next) = &self.waiting[first + count];
                if other != to || next.len() > head.len() || bytes + next.len() > MESSAGE_MAX {
                    break;
                }
                count += 1;
                bytes += next.len();
                if next.len() < head.len() {
                    break;
                }
            }
            runs.push(Run { first, count });
            first += count;
        }
        runs
    }

    fn send_some(&self, socket: &UdpSocket, runs: &[Run]) -> io::Result<usize> {
        let total: usize = runs.iter().map(|run| run.count).sum();
        let mut vectors = Vec::with_capacity(total);
        let addresses: Vec<SockAddr> = runs
            .iter()
            .map(|run| SockAddr::from(self.waiting[run.first].0))
            .collect();
        let mut controls: [Control; MESSAGES] = std::array::from_fn(|_| Control([0; CONTROL]));
        for (_, datagram) in runs
            .iter()
            .flat_map(|run| &self.waiting[run.first..run.first + run.count])
        {
            vectors.push(libc::iovec {
                iov_base: datagram.as_ptr().cast_mut().cast(),
                iov_len: datagram.len(),
            });
        }
        let mut next = 0;
        let mut headers: Vec<libc::mmsghdr> = Vec::with_capacity(runs.len());
        for (n, run) in runs.iter().enumerate() {
            // SAFETY: all-zero is a valid `mmsghdr`; the fields that matter follow.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_name = addresses[n].as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = addresses[n].len();
            header.msg_hdr.msg_iov = &raw mut vectors[next];
            header.msg_hdr.msg_iovlen = run.count as _;
            next += run.count;
            if run.count > 1 {
                let size = self.waiting[run.first].1.len() as u16;
                set_segment_size(&mut header.msg_hdr, &mut controls[n], size);
            }
            headers.push(header);
        }
        // SAFETY: every pointer in `headers` is to something that lives until the call returns.
        let sent = unsafe {
            libc::sendmmsg(
                socket.as_raw_fd(),
                headers.as_mut_ptr(),
                headers.len() as u32,
                0,
            )
        };
        if sent < 0 {
            return Err(io::Error::last_os_error());
        }
        Ok(sent as usize)
    }
}

fn set_segment_size(header: &mut libc::msghdr, control: &mut Control, size: u16) {
    header.msg_control = (&raw mut control.0).cast();
    // SAFETY: the buffer is aligned and holds one control message with a u16.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(size_of::<u16>() as u32) as _;
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(size_of::<u16>() as u32) as _;
        libc::CMSG_DATA(message).cast::<u16>().write_unaligned(size);
    }
}

/// Tell that a datagram could not be sent.
pub fn unsendable(shared: &Shared, to: SocketAddr, number: u32, errno: i32) {
    shared.counters.one(Count::UdpWriteError);
    shared.aside(Aside::Unsendable(to, number, errno));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn runs_cover_every_datagram_once_and_keep_the_kernel_s_rules(
            datagrams in prop::collection::vec((0u16..3, prop_oneof![4 => Just(1312usize), 1 => 1usize..1400]), 0..300),
        ) {
            let mut sender = Batch::default();
            for (port, len) in &datagrams {
                sender.waiting.push((([127, 0, 0, 1], *port).into(), BytesMut::zeroed(*len)));
            }
            let runs = sender.runs(0..datagrams.len(), true);
            let mut next = 0;
            for run in runs {
                prop_assert_eq!(run.first, next);
                next += run.count;
                let of_run = &sender.waiting[run.first..next];
                let size = of_run[0].1.len();
                prop_assert!(run.count <= SEGMENTS_MAX);
                prop_assert!(of_run.iter().map(|(_, d)| d.len()).sum::<usize>() <= MESSAGE_MAX);
                prop_assert!(of_run.iter().all(|(to, _)| *to == of_run[0].0));
                prop_assert!(of_run[..run.count - 1].iter().all(|(_, d)| d.len() == size));
                prop_assert!(of_run[run.count - 1].1.len() <= size);
            }
            prop_assert_eq!(next, datagrams.len());
        }
    }
}
