//! Glues TCP segments and UDP datagrams of one flow into super-packets for the TUN device (Linux:
//! net/ipv4/tcp_offload.c, net/ipv4/udp_offload.c).
//!
//! Only what can be cut back into the same packets is glued: same header fields and options, consecutive sequence
//! numbers, equal sizes with a shorter last one. WireGuard has authenticated every byte, so that the kernel is told the
//! checksum is good, as Linux's own WireGuard does (drivers/net/wireguard/receive.c).

use std::io::{self, IoSlice};

use bytes::BytesMut;
use ginnel_wire::ip::{fold, protocol, sum};
use ginnel_wire::transport::flag;
use tun_rs::{
    VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_HDR_GSO_UDP_L4,
    VIRTIO_NET_HDR_LEN, VirtioNetHdr,
};

use crate::tun::NEEDS_CHECKSUM;

/// Segments in one super-packet at most: the kernel's default `gso_max_segs` is far above it.
const SEGMENTS_MAX: usize = 64;
/// The largest IP packet that a 16-bit length can tell.
const TOTAL_MAX: usize = 65535;
/// Groups that may still grow; a batch rarely carries more flows.
const OPEN_MAX: usize = 8;

/// Packets for the TUN device in order of arrival, glued where they fit.
#[derive(Default)]
pub struct Coalescer {
    /// Whether the device takes UDP super-packets.
    pub glue_udp: bool,
    groups: Vec<Group>,
}

struct Group {
    packets: Vec<BytesMut>,
    /// How the first packet can be continued; `None` when it cannot.
    tail: Option<Tail>,
    total: usize,
}

#[derive(Clone, Copy)]
struct Tail {
    udp: bool,
    /// Where the transport header starts and where its payload does.
    transport: usize,
    header: usize,
    /// Of TCP; 0 for UDP.
    next_sequence: u32,
    size: usize,
    open: bool,
}

impl Coalescer {
    /// Add a packet, exactly as long as its IP header says.
    pub fn push(&mut self, packet: BytesMut) {
        let Some((segment, payload)) = segment_of(&packet, self.glue_udp) else {
            return self.start(packet, None);
        };
        let grown = self
            .groups
            .iter_mut()
            .rev()
            .filter(|group| group.tail.is_some_and(|tail| tail.open))
            .take(OPEN_MAX)
            .find(|group| {
                group.tail.is_some_and(|tail| tail.udp == segment.udp)
                    && same_flow(&group.packets[0], &packet, segment.transport)
            });
        match grown {
            Some(group) if group.fits(&packet, segment, payload) => group.append(packet, payload),
            Some(group) => {
                // The flow goes on in a new group: nothing may overtake what is in the old one.
                group.close();
                self.start(packet, Some(segment));
            }
            None => self.start(packet, Some(segment)),
        }
    }

    fn start(&mut self, packet: BytesMut, tail: Option<Tail>) {
        self.groups.push(Group {
            total: packet.len(),
            packets: vec![packet],
            tail,
        });
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Write everything, one call of `write` for each super-packet. Returns (packets written, calls that failed).
    pub fn flush(
        &mut self,
        mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<()>,
    ) -> (usize, usize) {
        let (mut written, mut failed) = (0, 0);
        for mut group in self.groups.drain(..) {
            match group.write(&mut write) {
                Ok(()) => written += group.packets.len(),
                Err(_) => failed += 1,
            }
        }
        (written, failed)
    }
}

impl Group {
    fn close(&mut self) {
        if let Some(tail) = &mut self.tail {
            tail.open = false;
        }
    }

    fn fits(&self, packet: &[u8], segment: Tail, payload: usize) -> bool {
        let Some(tail) = self.tail else { return false };
        let follows = tail.udp || sequence(packet, tail.transport) == tail.next_sequence;
        follows
            && payload > 0
            && payload <= tail.size
            && segment.header == tail.header
            && self.packets.len() < SEGMENTS_MAX
            && self.total + payload <= TOTAL_MAX
            && same_ip_header(&self.packets[0], packet)
            && (tail.udp || same_tcp_header(&self.packets[0], packet, tail))
    }

    fn append(&mut self, packet: BytesMut, payload: usize) {
        let Some(tail) = &mut self.tail else { return };
        tail.open = payload == tail.size;
        if !tail.udp {
            let pushed = packet[tail.transport + 13] & flag::PSH;
            tail.next_sequence = tail.next_sequence.wrapping_add(payload as u32);
            tail.open &= pushed == 0;
            self.packets[0][tail.transport + 13] |= pushed;
        }
        self.total += payload;
        self.packets.push(packet);
    }

    fn write(
        &mut self,
        write: &mut impl FnMut(&[IoSlice<'_>]) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut virtio = [0u8; VIRTIO_NET_HDR_LEN];
        let header = match self.tail {
            Some(tail) if self.packets.len() > 1 => {
                self.finish_headers(tail).encode(&mut virtio)?;
                tail.header
            }
            _ => 0,
        };
        let mut pieces = [IoSlice::new(&[]); SEGMENTS_MAX + 1];
        pieces[0] = IoSlice::new(&virtio);
        pieces[1] = IoSlice::new(&self.packets[0]);
        for (piece, packet) in pieces[2..].iter_mut().zip(&self.packets[1..]) {
            *piece = IoSlice::new(&packet[header..]);
        }
        write(&pieces[..=self.packets.len()])
    }

    /// Make the first packet's headers those of the whole.
    fn finish_headers(&mut self, tail: Tail) -> VirtioNetHdr {
        let total = self.total;
        let at = tail.transport;
        let packet = &mut self.packets[0];
        let v4 = packet[0] >> 4 == 4;
        let addresses = if v4 {
            packet[2..4].copy_from_slice(&(total as u16).to_be_bytes());
            packet[10..12].fill(0);
            let checksum = !fold(sum(&packet[..at], 0));
            packet[10..12].copy_from_slice(&checksum.to_be_bytes());
            12..20
        } else {
            packet[4..6].copy_from_slice(&((total - 40) as u16).to_be_bytes());
            8..40
        };
        let (number, csum_offset, gso_type) = match (tail.udp, v4) {
            (true, _) => (protocol::UDP, 6, VIRTIO_NET_HDR_GSO_UDP_L4),
            (false, true) => (protocol::TCP, 16, VIRTIO_NET_HDR_GSO_TCPV4),
            (false, false) => (protocol::TCP, 16, VIRTIO_NET_HDR_GSO_TCPV6),
        };
        if tail.udp {
            packet[at + 4..at + 6].copy_from_slice(&((total - at) as u16).to_be_bytes());
        }
        let pseudo = u64::from(number) + (total - at) as u64;
        let partial = fold(sum(&packet[addresses], pseudo));
        let field = at + usize::from(csum_offset);
        packet[field..field + 2].copy_from_slice(&partial.to_be_bytes());
        VirtioNetHdr {
            flags: NEEDS_CHECKSUM,
            gso_type,
            hdr_len: tail.header as u16,
            gso_size: tail.size as u16,
            csum_start: at as u16,
            csum_offset,
        }
    }
}

/// How a packet could be continued, and its payload's length. `None` for what is neither plain TCP nor plain UDP.
/// A packet that must stand alone has `open` unset.
fn segment_of(packet: &[u8], glue_udp: bool) -> Option<(Tail, usize)> {
    let (number, transport) = transport_of(packet)?;
    match number {
        protocol::TCP => tcp_segment(packet, transport),
        protocol::UDP if glue_udp => udp_segment(packet, transport),
        _ => None,
    }
}

fn tcp_segment(packet: &[u8], transport: usize) -> Option<(Tail, usize)> {
    let header = transport + usize::from(packet.get(transport + 12)? >> 4) * 4;
    if header < transport + 20 || packet.len() < header {
        return None;
    }
    let payload = packet.len() - header;
    let tail = Tail {
        udp: false,
        transport,
        header,
        next_sequence: sequence(packet, transport).wrapping_add(payload as u32),
        size: payload,
        open: payload > 0 && packet[transport + 13] == flag::ACK,
    };
    Some((tail, payload))
}

/// A datagram without a checksum would get one when it is cut out of a super-packet: it stands alone.
fn udp_segment(packet: &[u8], transport: usize) -> Option<(Tail, usize)> {
    let header = transport + 8;
    let field =
        |at: usize| u16::from_be_bytes([packet[transport + at], packet[transport + at + 1]]);
    if packet.len() < header || usize::from(field(4)) != packet.len() - transport || field(6) == 0 {
        return None;
    }
    let payload = packet.len() - header;
    let tail = Tail {
        udp: true,
        transport,
        header,
        next_sequence: 0,
        size: payload,
        open: payload > 0,
    };
    Some((tail, payload))
}

/// Protocol and offset of the transport header in an unfragmented packet without IP options.
fn transport_of(packet: &[u8]) -> Option<(u8, usize)> {
    match packet.first()? {
        0x45 if packet.len() >= 20 && packet[6] & 0x3f == 0 && packet[7] == 0 => {
            Some((packet[9], 20))
        }
        0x60..=0x6f if packet.len() >= 40 => Some((packet[6], 40)),
        _ => None,
    }
}

fn sequence(packet: &[u8], tcp: usize) -> u32 {
    u32::from_be_bytes([
        packet[tcp + 4],
        packet[tcp + 5],
        packet[tcp + 6],
        packet[tcp + 7],
    ])
}

fn same_flow(a: &[u8], b: &[u8], transport: usize) -> bool {
    let addresses = if transport == 20 { 12..20 } else { 8..40 };
    a[0] >> 4 == b[0] >> 4
        && a[addresses.clone()] == b[addresses]
        && a[transport..transport + 4] == b[transport..transport + 4]
}

/// Everything but lengths, checksum and IPv4 identification.
fn same_ip_header(a: &[u8], b: &[u8]) -> bool {
    match a[0] >> 4 {
        4 => a[1] == b[1] && a[6..9] == b[6..9],
        _ => a[..4] == b[..4] && a[7] == b[7],
    }
}

/// Everything but sequence number, checksum and PSH.
fn same_tcp_header(a: &[u8], b: &[u8], tail: Tail) -> bool {
    let tcp = tail.transport;
    a[tcp + 8..tcp + 13] == b[tcp + 8..tcp + 13]
        && (a[tcp + 13] ^ b[tcp + 13]) & !flag::PSH == 0
        && a[tcp + 14..tcp + 16] == b[tcp + 14..tcp + 16]
        && a[tcp + 18..tail.header] == b[tcp + 18..tail.header]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tun_rs::gso_split;

    fn tcp_packet(
        v6: bool,
        port: u16,
        sequence: u32,
        flags: u8,
        options: &[u8],
        payload: &[u8],
    ) -> Vec<u8> {
        let tcp_len = 20 + options.len() + payload.len();
        let mut bytes = if v6 {
            let mut ip = vec![0x60, 0, 0, 0, 0, 0, 6, 64];
            ip[4..6].copy_from_slice(&(tcp_len as u16).to_be_bytes());
            ip.extend([0xfd; 16]);
            ip.extend([0xfc; 16]);
            ip
        } else {
            let mut ip = vec![
                0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 6, 0, 0, 100, 64, 0, 1, 100, 64, 0, 2,
            ];
            ip[2..4].copy_from_slice(&((20 + tcp_len) as u16).to_be_bytes());
            let checksum = !fold(sum(&ip, 0));
            ip[10..12].copy_from_slice(&checksum.to_be_bytes());
            ip
        };
        let at = bytes.len();
        bytes.extend(port.to_be_bytes());
        bytes.extend(443u16.to_be_bytes());
        bytes.extend(sequence.to_be_bytes());
        bytes.extend([0, 0, 0, 9]);
        bytes.extend([
            ((20 + options.len()) as u8 / 4) << 4,
            flags,
            1,
            0,
            0,
            0,
            0,
            0,
        ]);
        bytes.extend(options);
        bytes.extend(payload);
        let addresses = if v6 { 8..40 } else { 12..20 };
        let pseudo = sum(&bytes[addresses], 6 + tcp_len as u64);
        let checksum = !fold(sum(&bytes[at..], pseudo));
        bytes[at + 16..at + 18].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    fn udp_packet(v6: bool, port: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = tcp_packet(v6, port, 0, 0, &[], payload);
        let at = bytes.len() - payload.len() - 20;
        bytes.drain(at + 8..at + 20);
        let len = (8 + payload.len()) as u16;
        bytes[at + 4..at + 6].copy_from_slice(&len.to_be_bytes());
        bytes[at + 6..at + 8].fill(0);
        if v6 {
            bytes[4..6].copy_from_slice(&len.to_be_bytes());
            bytes[6] = 17;
        } else {
            bytes[2..4].copy_from_slice(&(20 + len).to_be_bytes());
            bytes[9] = 17;
        }
        let addresses = if v6 { 8..40 } else { 12..20 };
        let pseudo = sum(&bytes[addresses], 17 + u64::from(len));
        let checksum = !fold(sum(&bytes[at..], pseudo));
        bytes[at + 6..at + 8].copy_from_slice(&checksum.to_be_bytes());
        bytes
    }

    /// What the kernel would make of the written super-packets.
    fn cut_back(writes: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut packets = Vec::new();
        for write in writes {
            let header = VirtioNetHdr::decode(&write[..VIRTIO_NET_HDR_LEN]).unwrap();
            let mut packet = write[VIRTIO_NET_HDR_LEN..].to_vec();
            if header.gso_type == 0 {
                packets.push(packet);
                continue;
            }
            let mut out = vec![vec![0u8; 2000]; SEGMENTS_MAX];
            let mut sizes = vec![0; SEGMENTS_MAX];
            let v6 = packet[0] >> 4 == 6;
            let made = gso_split(&mut packet, header, &mut out, &mut sizes, 0, v6).unwrap();
            packets.extend(
                out.into_iter()
                    .zip(sizes)
                    .take(made)
                    .map(|(mut segment, size)| {
                        segment.truncate(size);
                        segment
                    }),
            );
        }
        packets
    }

    fn written(packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut coalescer = Coalescer {
            glue_udp: true,
            ..Coalescer::default()
        };
        for packet in packets {
            coalescer.push(BytesMut::from(&packet[..]));
        }
        let mut writes = Vec::new();
        coalescer.flush(|pieces| {
            writes.push(pieces.iter().flat_map(|piece| piece.to_vec()).collect());
            Ok(())
        });
        writes
    }

    #[derive(Clone, Debug)]
    struct Step {
        flow: u16,
        flags: u8,
        len: usize,
        skip: u32,
        stamp: u8,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = (
            0u16..3,
            prop_oneof![8 => Just(flag::ACK), 1 => Just(flag::ACK | flag::PSH), 1 => Just(flag::SYN), 1 => Just(flag::FIN | flag::ACK)],
            prop_oneof![6 => Just(1000usize), 1 => Just(0), 1 => 1usize..1300],
            prop_oneof![9 => Just(0u32), 1 => Just(5)],
            prop_oneof![9 => Just(1u8), 1 => Just(2)],
        );
        prop::collection::vec(
            step.prop_map(|(flow, flags, len, skip, stamp)| Step {
                flow,
                flags,
                len,
                skip,
                stamp,
            }),
            1..80,
        )
    }

    proptest! {
        #[test]
        fn cutting_what_was_glued_gives_the_same_packets_in_each_flow(v6: bool, steps in steps()) {
            let mut next = [1000u32, u32::MAX - 3000, 7];
            let mut ids = [0u16; 3];
            let packets: Vec<Vec<u8>> = steps.iter().map(|step| {
                let flow = usize::from(step.flow);
                let sequence = next[flow].wrapping_add(step.skip);
                next[flow] = sequence.wrapping_add(step.len as u32);
                ids[flow] += 1;
                let payload: Vec<u8> = (0..step.len).map(|n| n as u8 ^ step.flow as u8).collect();
                tcp_packet(v6, step.flow, sequence, step.flags, &[1, 1, 8, 10, 0, 0, 0, step.stamp, 0, 0, 0, 0], &payload)
            }).collect();
            let back = cut_back(&written(&packets));
            prop_assert_eq!(back.len(), packets.len());
            let port_at = if v6 { 40 } else { 20 };
            for flow in 0..3u8 {
                let of_flow = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                    packets.iter().filter(|p| p[port_at + 1] == flow).map(|p| {
                        let mut p = p.clone();
                        if !v6 { p[4..6].fill(0); p[10..12].fill(0); } // identification may be renumbered
                        p
                    }).collect()
                };
                prop_assert_eq!(of_flow(&back), of_flow(&packets));
            }
        }
    }

    proptest! {
        #[test]
        fn datagrams_come_back_in_order_and_unchanged(
            v6: bool,
            sizes in prop::collection::vec((0u16..3, prop_oneof![5 => Just(1200usize), 2 => 0usize..1300]), 1..100),
        ) {
            let packets: Vec<Vec<u8>> = sizes
                .iter()
                .enumerate()
                .map(|(n, (flow, size))| udp_packet(v6, *flow, &vec![n as u8; *size]))
                .collect();
            let back = cut_back(&written(&packets));
            prop_assert_eq!(back.len(), packets.len());
            let port_at = if v6 { 41 } else { 21 };
            for flow in 0..3u8 {
                let of_flow = |packets: &[Vec<u8>]| -> Vec<Vec<u8>> {
                    packets.iter().filter(|p| p[port_at] == flow).map(|p| {
                        let mut p = p.clone();
                        if !v6 { p[4..6].fill(0); p[10..12].fill(0); }
                        p
                    }).collect()
                };
                prop_assert_eq!(of_flow(&back), of_flow(&packets));
            }
        }
    }

    #[test]
    fn a_datagram_without_a_checksum_stands_alone() {
        let mut bare = udp_packet(false, 7, &[1; 100]);
        bare[26..28].fill(0);
        assert_eq!(written(&[bare.clone(), bare]).len(), 2);
        let full = udp_packet(false, 7, &[1; 100]);
        assert_eq!(written(&[full.clone(), full]).len(), 1);
    }

    #[test]
    fn a_run_of_full_segments_becomes_one_write() {
        let packets: Vec<Vec<u8>> = (0..50)
            .map(|n| tcp_packet(false, 7, n * 1000, flag::ACK, &[], &[n as u8; 1000]))
            .collect();
        assert_eq!(written(&packets).len(), 1);
    }

    #[test]
    fn nothing_overtakes_within_a_flow() {
        let data = |n: u32| tcp_packet(false, 7, n * 1000, flag::ACK, &[], &[0; 1000]);
        let fin = tcp_packet(false, 7, 2000, flag::ACK | flag::FIN, &[], &[]);
        let writes = written(&[data(0), data(1), fin.clone(), data(2)]);
        assert_eq!(writes.len(), 3);
        assert_eq!(writes[1][VIRTIO_NET_HDR_LEN..], fin[..]);
    }
}
