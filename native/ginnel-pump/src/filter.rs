//! The packet filter (tailscale: wgengine/filter/filter.go), in the order that its answers are given.
//!
//! Inbound means out of the tunnel to this host. Stricter than its model in two places: an echo reply needs an echo
//! request that went to the same peer, and an ICMP error must quote a flow that this node sent.

use std::net::IpAddr;

use ginnel_wire::ip::{Fragment, Ip, protocol};
use ginnel_wire::transport::{self, Transport, flag};

use crate::counters::Count;
use crate::flows::{Flow, Flows};
use crate::prefix::{AddressSet, Range};

/// A later fragment below this offset could overlay a transport header (RFC 1858).
const MIN_FRAGMENT_OFFSET: usize = 80;

/// One rule: who may reach what, with which protocols.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Source addresses.
    pub sources: AddressSet,
    /// Destination addresses with first and last port.
    pub destinations: Vec<(Range, u16, u16)>,
    /// IP protocol numbers.
    pub protocols: Vec<u8>,
}

impl Rule {
    fn allows_addresses(&self, ip: &Ip<'_>) -> bool {
        self.sources.contains(ip.source)
            && self
                .destinations
                .iter()
                .any(|(range, _, _)| range.contains(ip.destination))
    }

    fn allows_port(&self, ip: &Ip<'_>, port: u16) -> bool {
        self.protocols.contains(&ip.protocol)
            && self.sources.contains(ip.source)
            && self.destinations.iter().any(|(range, first, last)| {
                (*first..=*last).contains(&port) && range.contains(ip.destination)
            })
    }

    fn allows_protocol(&self, ip: &Ip<'_>) -> bool {
        self.protocols.contains(&ip.protocol)
            && self.sources.contains(ip.source)
            && self.destinations.iter().any(|(range, first, last)| {
                (*first, *last) == (0, u16::MAX) && range.contains(ip.destination)
            })
    }
}

/// What happens to an inbound packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To the host.
    Accept,
    /// A message for the tunnel itself: never to the host.
    Tsmp,
    /// Dropped, and counted under this name.
    Drop(Count),
}

/// The rules in force. Without any, only answers come in.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// The addresses that this node receives for.
    pub local: AddressSet,
    /// What may come in unasked.
    pub rules: Vec<Rule>,
}

impl Filter {
    /// Judge a packet out of the tunnel. `flows` is the table of the peer that it came from.
    pub fn inbound(&self, ip: &Ip<'_>, flows: &mut Flows) -> Verdict {
        if let Err(count) = pre_check(ip) {
            return Verdict::Drop(count);
        }
        if !self.local.contains(ip.destination) {
            return Verdict::Drop(Count::FilterNotLocal);
        }
        if matches!(ip.fragment, Fragment::Later(_)) {
            return Verdict::Accept;
        }
        let verdict = |accept, count| match accept {
            true => Verdict::Accept,
            false => Verdict::Drop(count),
        };
        match transport::parse(ip.protocol, ip.payload) {
            Transport::Short => Verdict::Drop(Count::FilterMalformed),
            Transport::Tcp { flags, .. } if flags & (flag::SYN | flag::ACK) != flag::SYN => {
                Verdict::Accept
            }
            Transport::Tcp { destination, .. } => {
                verdict(self.rule_for_port(ip, destination), Count::FilterNoRule)
            }
            Transport::Datagram {
                source,
                destination,
            } => {
                let flow = inbound_flow(ip, source, destination);
                verdict(
                    flows.knows(flow) || self.rule_for_port(ip, destination),
                    Count::FilterNoRule,
                )
            }
            Transport::EchoReply(id) => {
                verdict(flows.knows(inbound_flow(ip, 0, id)), Count::FilterIcmp)
            }
            Transport::IcmpError(quoted) => {
                verdict(quotes_our_flow(ip, quoted, flows), Count::FilterIcmp)
            }
            Transport::EchoRequest(_) | Transport::IcmpOther => verdict(
                self.rules.iter().any(|rule| rule.allows_addresses(ip)),
                Count::FilterNoRule,
            ),
            Transport::Tsmp(_) => Verdict::Tsmp,
            Transport::Other => verdict(
                self.rules.iter().any(|rule| rule.allows_protocol(ip)),
                Count::FilterNoRule,
            ),
        }
    }

    fn rule_for_port(&self, ip: &Ip<'_>, port: u16) -> bool {
        self.rules.iter().any(|rule| rule.allows_port(ip, port))
    }
}

/// Judge a packet of the host on its way into the tunnel, and remember what may be answered.
pub fn outbound(ip: &Ip<'_>, flows: &mut Flows) -> Result<(), Count> {
    pre_check(ip)?;
    if matches!(ip.fragment, Fragment::Later(_)) {
        return Ok(());
    }
    match transport::parse(ip.protocol, ip.payload) {
        Transport::Datagram {
            source,
            destination,
        } => flows.record(outbound_flow(ip, source, destination)),
        Transport::EchoRequest(id) => flows.record(outbound_flow(ip, id, 0)),
        Transport::Tsmp(_) => return Err(Count::Tsmp),
        _ => {}
    }
    Ok(())
}

fn pre_check(ip: &Ip<'_>) -> Result<(), Count> {
    match (ip.destination, ip.fragment) {
        (destination, _) if destination.is_multicast() => Err(Count::FilterMulticast),
        (destination, _) if is_link_local(destination) => Err(Count::FilterLinkLocal),
        (_, Fragment::Later(offset)) if offset < MIN_FRAGMENT_OFFSET => Err(Count::FilterFragment),
        _ => Ok(()),
    }
}

fn is_link_local(address: IpAddr) -> bool {
    match address {
        // 169.254.169.254 is where clouds serve metadata: a subnet router may carry it.
        IpAddr::V4(v4) => v4.is_link_local() && v4.octets() != [169, 254, 169, 254],
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    }
}

fn inbound_flow(ip: &Ip<'_>, source: u16, destination: u16) -> Flow {
    Flow {
        protocol: ip.protocol,
        local: (ip.destination, destination),
        remote: (ip.source, source),
    }
}

fn outbound_flow(ip: &Ip<'_>, source: u16, destination: u16) -> Flow {
    Flow {
        protocol: ip.protocol,
        local: (ip.source, source),
        remote: (ip.destination, destination),
    }
}

/// The quoted packet must be one of ours: sent by the address that the error is for, and in a flow that is known.
/// TCP keeps no flows here: the kernel matches its sequence number.
fn quotes_our_flow(error: &Ip<'_>, quoted: &[u8], flows: &mut Flows) -> bool {
    let Some((source, destination, number, rest)) = quoted_header(quoted) else {
        return false;
    };
    if source != error.destination {
        return false;
    }
    let flow = |local, remote| Flow {
        protocol: number,
        local: (source, local),
        remote: (destination, remote),
    };
    match number {
        protocol::TCP => true,
        protocol::UDP | protocol::SCTP => {
            transport::quoted_ports(rest).is_some_and(|(from, to)| flows.knows(flow(from, to)))
        }
        protocol::ICMP | protocol::ICMPV6 => match transport::parse(number, rest) {
            Transport::EchoRequest(id) => flows.knows(flow(id, 0)),
            _ => false,
        },
        _ => false,
    }
}

/// A quoted packet is cut short, so its own length field cannot be held to it.
fn quoted_header(quoted: &[u8]) -> Option<(IpAddr, IpAddr, u8, &[u8])> {
    match quoted.first()? >> 4 {
        4 if quoted.len() >= 20 => {
            let octets = |at: usize| <[u8; 4]>::try_from(&quoted[at..at + 4]).ok();
            let rest = quoted.get(usize::from(quoted[0] & 0x0f) * 4..)?;
            Some((octets(12)?.into(), octets(16)?.into(), quoted[9], rest))
        }
        6 if quoted.len() >= 40 => {
            let octets = |at: usize| <[u8; 16]>::try_from(&quoted[at..at + 16]).ok();
            Some((
                octets(8)?.into(),
                octets(24)?.into(),
                quoted[6],
                &quoted[40..],
            ))
        }
        _ => None,
    }
}
