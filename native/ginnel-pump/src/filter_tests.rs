//! The filter beside a plain reading of its rules, over random packets of few addresses and ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ginnel_wire::ip::{self, protocol};
use proptest::prelude::*;

use crate::counters::Count;
use crate::filter::{Filter, Rule, Verdict, outbound};
use crate::flows::Flows;
use crate::prefix::{AddressSet, Range};

const ICMP_QUOTE: usize = 28;

#[derive(Clone, Debug)]
struct Packet {
    v6: bool,
    source: u8,
    destination: u8,
    protocol: u8,
    ports: (u16, u16),
    flags: u8,
    icmp: u8,
}

impl Packet {
    fn address(&self, host: u8) -> IpAddr {
        match self.v6 {
            false => IpAddr::V4(Ipv4Addr::new(100, 64, 0, host)),
            true => IpAddr::V6(Ipv6Addr::new(0xfd7a, 0, 0, 0, 0, 0, 0, host.into())),
        }
    }

    fn transport(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self.protocol {
            protocol::ICMP | protocol::ICMPV6 => {
                bytes.extend([self.icmp, 0, 0, 0]);
                bytes.extend(self.ports.0.to_be_bytes());
                bytes.extend([0, 0]);
            }
            _ => {
                bytes.extend(self.ports.0.to_be_bytes());
                bytes.extend(self.ports.1.to_be_bytes());
                bytes.resize(24, 0);
                bytes[13] = self.flags;
            }
        }
        bytes
    }

    fn bytes(&self) -> Vec<u8> {
        packet(
            self.address(self.source),
            self.address(self.destination),
            self.protocol,
            &self.transport(),
        )
    }
}

fn packet(source: IpAddr, destination: IpAddr, number: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let mut bytes = vec![0x45, 0, 0, 0, 0, 0, 0, 0, 64, number, 0, 0];
            bytes[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut bytes = vec![0x60, 0, 0, 0, 0, 0, number, 64];
            bytes[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
            bytes.extend(source.octets());
            bytes.extend(destination.octets());
            bytes
        }
        _ => unreachable!("both of one family"),
    };
    bytes.extend(payload);
    bytes
}

#[derive(Clone, Debug)]
struct PlainRule {
    sources: Vec<u8>,
    destination: u8,
    ports: (u16, u16),
    protocols: Vec<u8>,
}

impl PlainRule {
    fn compiled(&self) -> Rule {
        let both = |host: &u8| -> [Range; 2] {
            [
                format!("100.64.0.{host}").parse().unwrap(),
                format!("fd7a::{host}").parse().unwrap(),
            ]
        };
        Rule {
            sources: AddressSet::new(self.sources.iter().flat_map(both)),
            destinations: both(&self.destination)
                .map(|range| (range, self.ports.0, self.ports.1))
                .to_vec(),
            protocols: self.protocols.clone(),
        }
    }
}

/// The table of the filter's answers, read line by line. Hosts 1 and 2 are this node's own.
fn plain_verdict(packet: &Packet, rules: &[PlainRule], asked: &[Packet]) -> bool {
    if packet.destination > 2 {
        return false;
    }
    let addresses = |rule: &&PlainRule| {
        rule.sources.contains(&packet.source) && rule.destination == packet.destination
    };
    let of_protocol = |rule: &&PlainRule| rule.protocols.contains(&packet.protocol);
    let ports = |rule: &&PlainRule| (rule.ports.0..=rule.ports.1).contains(&packet.ports.1);
    let matching = |test: &dyn Fn(&&PlainRule) -> bool| {
        rules.iter().any(|rule| addresses(&rule) && test(&rule))
    };
    let was_asked = |test: &dyn Fn(&Packet) -> bool| {
        asked.iter().any(|sent| {
            sent.v6 == packet.v6
                && sent.protocol == packet.protocol
                && (sent.source, sent.destination) == (packet.destination, packet.source)
                && test(sent)
        })
    };
    match packet.protocol {
        protocol::TCP if packet.flags & 0x12 != 0x02 => true,
        protocol::TCP => matching(&|rule| of_protocol(rule) && ports(rule)),
        protocol::UDP | protocol::SCTP => {
            was_asked(&|sent| sent.ports == (packet.ports.1, packet.ports.0))
                || matching(&|rule| of_protocol(rule) && ports(rule))
        }
        protocol::ICMP | protocol::ICMPV6 => {
            let (request, reply) = if packet.protocol == protocol::ICMP {
                (8, 0)
            } else {
                (128, 129)
            };
            match packet.icmp {
                kind if kind == reply => {
                    was_asked(&|sent| sent.icmp == request && sent.ports.0 == packet.ports.0)
                }
                _ => matching(&|_| true),
            }
        }
        _ => matching(&|rule| of_protocol(rule) && rule.ports == (0, 65535)),
    }
}

fn any_packet() -> impl Strategy<Value = Packet> {
    (
        any::<bool>(),
        1u8..5,
        1u8..5,
        prop::sample::select(vec![1u8, 6, 17, 58, 132, 47]),
        (1u16..4, 1u16..4),
        prop::sample::select(vec![0x02u8, 0x10, 0x12, 0x04]),
        prop::sample::select(vec![0u8, 8, 13, 128, 129, 135]),
    )
        .prop_map(
            |(v6, source, destination, protocol, ports, flags, icmp)| Packet {
                v6,
                source,
                destination,
                protocol,
                ports,
                flags,
                icmp,
            },
        )
}

fn any_rule() -> impl Strategy<Value = PlainRule> {
    (
        prop::collection::vec(1u8..5, 0..3),
        1u8..5,
        prop_oneof![
            Just((0u16, 65535u16)),
            (1u16..4).prop_map(|port| (port, port)),
            Just((2, 3))
        ],
        prop::collection::vec(prop::sample::select(vec![1u8, 6, 17, 58, 132, 47]), 0..4),
    )
        .prop_map(|(sources, destination, ports, protocols)| PlainRule {
            sources,
            destination,
            ports,
            protocols,
        })
}

fn filter(rules: &[PlainRule]) -> Filter {
    let own = ["100.64.0.1-100.64.0.2", "fd7a::1-fd7a::2"];
    Filter {
        local: AddressSet::new(own.map(|text| text.parse::<Range>().unwrap())),
        rules: rules.iter().map(PlainRule::compiled).collect(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_filter_agrees_with_a_plain_reading(
        rules in prop::collection::vec(any_rule(), 0..5),
        sent in prop::collection::vec(any_packet(), 0..12),
        packets in prop::collection::vec(any_packet(), 1..20),
    ) {
        let filter = filter(&rules);
        let mut flows = Flows::default();
        for packet in &sent {
            let bytes = packet.bytes();
            prop_assert_eq!(outbound(&ip::parse(&bytes).unwrap(), &mut flows), Ok(()));
        }
        for packet in &packets {
            let bytes = packet.bytes();
            let verdict = filter.inbound(&ip::parse(&bytes).unwrap(), &mut flows);
            let accepted = verdict == Verdict::Accept;
            prop_assert_eq!(accepted, plain_verdict(packet, &rules, &sent), "{:?} {:?}", packet, verdict);
        }
    }

    #[test]
    fn any_packet_has_a_verdict(mut bytes in prop::collection::vec(any::<u8>(), 20..200), v6: bool) {
        bytes[0] = if v6 { 0x60 } else { 0x45 };
        if let Ok(ip) = ip::parse(&bytes) {
            let _ = filter(&[]).inbound(&ip, &mut Flows::default());
            let _ = outbound(&ip, &mut Flows::default());
        }
    }
}

fn v4(host: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(100, 64, 0, host))
}

fn verdict_of(bytes: &[u8], flows: &mut Flows) -> Verdict {
    filter(&[]).inbound(&ip::parse(bytes).unwrap(), flows)
}

/// A UDP packet of ours, as an error would quote it, and the error.
fn error_about(quoted: &[u8], from: IpAddr) -> Vec<u8> {
    let mut body = vec![3, 4, 0, 0, 0, 0, 0, 0];
    body.extend(&quoted[..ICMP_QUOTE]);
    packet(from, v4(1), protocol::ICMP, &body)
}

#[test]
fn an_error_must_quote_what_was_sent() {
    let mut flows = Flows::default();
    let udp = packet(v4(1), v4(3), protocol::UDP, &[0, 1, 0, 2, 0, 8, 0, 0]);
    assert_eq!(
        verdict_of(&error_about(&udp, v4(9)), &mut flows),
        Verdict::Drop(Count::FilterIcmp)
    );
    outbound(&ip::parse(&udp).unwrap(), &mut flows).unwrap();
    assert_eq!(
        verdict_of(&error_about(&udp, v4(9)), &mut flows),
        Verdict::Accept
    );
    let foreign = packet(v4(2), v4(3), protocol::UDP, &[0, 1, 0, 2, 0, 8, 0, 0]);
    assert_eq!(
        verdict_of(&error_about(&foreign, v4(9)), &mut flows),
        Verdict::Drop(Count::FilterIcmp)
    );
}

#[test]
fn an_error_about_a_stream_passes_when_its_sender_was_us() {
    let ours = packet(v4(1), v4(3), protocol::TCP, &[0; 20]);
    let theirs = packet(v4(3), v4(1), protocol::TCP, &[0; 20]);
    let mut flows = Flows::default();
    assert_eq!(
        verdict_of(&error_about(&ours, v4(9)), &mut flows),
        Verdict::Accept
    );
    assert_eq!(
        verdict_of(&error_about(&theirs, v4(9)), &mut flows),
        Verdict::Drop(Count::FilterIcmp)
    );
}

#[test]
fn multicast_and_link_local_never_pass_in_either_direction() {
    for (to, count) in [
        ("224.0.0.1", Count::FilterMulticast),
        ("169.254.1.1", Count::FilterLinkLocal),
        ("ff02::1", Count::FilterMulticast),
        ("fe80::1", Count::FilterLinkLocal),
    ] {
        let to: IpAddr = to.parse().unwrap();
        let from = if to.is_ipv4() {
            v4(3)
        } else {
            "fd7a::3".parse().unwrap()
        };
        let bytes = packet(from, to, protocol::UDP, &[0; 8]);
        assert_eq!(
            verdict_of(&bytes, &mut Flows::default()),
            Verdict::Drop(count)
        );
        assert_eq!(
            outbound(&ip::parse(&bytes).unwrap(), &mut Flows::default()),
            Err(count)
        );
    }
}

#[test]
fn a_fragment_that_could_overlay_a_header_is_dropped() {
    let mut bytes = packet(v4(3), v4(1), protocol::TCP, &[0; 40]);
    for (offset_in_8, expected) in [
        (1, Verdict::Drop(Count::FilterFragment)),
        (9, Verdict::Drop(Count::FilterFragment)),
        (10, Verdict::Accept),
    ] {
        bytes[7] = offset_in_8;
        assert_eq!(
            verdict_of(&bytes, &mut Flows::default()),
            expected,
            "{offset_in_8}"
        );
    }
}

#[test]
fn a_first_fragment_must_hold_its_header() {
    let mut bytes = packet(v4(3), v4(1), protocol::TCP, &[0x10; 16]);
    bytes[6] = 0x20;
    assert_eq!(
        verdict_of(&bytes, &mut Flows::default()),
        Verdict::Drop(Count::FilterMalformed)
    );
}

#[test]
fn messages_between_tunnel_ends_reach_neither_host() {
    let bytes = packet(v4(3), v4(1), protocol::TSMP, b"p12345678");
    assert_eq!(verdict_of(&bytes, &mut Flows::default()), Verdict::Tsmp);
    assert_eq!(
        outbound(&ip::parse(&bytes).unwrap(), &mut Flows::default()),
        Err(Count::Tsmp)
    );
}

#[test]
fn a_flood_from_one_peer_pushes_out_no_flow_of_another() {
    let mut quiet = Flows::default();
    let query = packet(v4(1), v4(3), protocol::UDP, &[0, 1, 0, 53, 0, 8, 0, 0]);
    outbound(&ip::parse(&query).unwrap(), &mut quiet).unwrap();
    let mut noisy = Flows::default();
    for port in 0..10_000u16 {
        let [high, low] = port.to_be_bytes();
        let flood = packet(v4(1), v4(4), protocol::UDP, &[high, low, 0, 53, 0, 8, 0, 0]);
        outbound(&ip::parse(&flood).unwrap(), &mut noisy).unwrap();
    }
    let answer = packet(v4(3), v4(1), protocol::UDP, &[0, 53, 0, 1, 0, 8, 0, 0]);
    assert_eq!(verdict_of(&answer, &mut quiet), Verdict::Accept);
}
