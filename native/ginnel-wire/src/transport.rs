//! Transport headers as far as a packet filter reads them (RFC 9293 §3.1, RFC 768, RFC 792, RFC 4443).

use crate::ip::protocol;

/// TCP flag bits.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgment field is in use.
    pub const ACK: u8 = 0x10;
}

/// What a transport header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport<'a> {
    /// TCP ports and flags.
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Flag bits.
        flags: u8,
    },
    /// UDP or SCTP ports.
    Datagram {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
    },
    /// ICMP echo request, with its identifier.
    EchoRequest(u16),
    /// ICMP echo reply, with its identifier.
    EchoReply(u16),
    /// ICMP error, with the start of the packet that it quotes.
    IcmpError(&'a [u8]),
    /// Any other ICMP message.
    IcmpOther,
    /// A message between tunnel ends.
    Tsmp(&'a [u8]),
    /// A protocol that is not read further.
    Other,
    /// The header does not fit into the packet.
    Short,
}

/// Read the transport header of `number`'s protocol.
pub fn parse(number: u8, payload: &[u8]) -> Transport<'_> {
    match number {
        protocol::TCP if payload.len() >= 20 => Transport::Tcp {
            source: u16_be(payload, 0),
            destination: u16_be(payload, 2),
            flags: payload[13],
        },
        protocol::UDP if payload.len() >= 8 => ports(payload),
        protocol::SCTP if payload.len() >= 12 => ports(payload),
        protocol::ICMP if payload.len() >= 8 => icmp4(payload),
        protocol::ICMPV6 if payload.len() >= 8 => icmp6(payload),
        protocol::TSMP if !payload.is_empty() => Transport::Tsmp(payload),
        protocol::TCP
        | protocol::UDP
        | protocol::SCTP
        | protocol::ICMP
        | protocol::ICMPV6
        | protocol::TSMP => Transport::Short,
        _ => Transport::Other,
    }
}

/// Read the ports of a header that an ICMP error quotes: 8 bytes are all it must hold (RFC 792).
pub fn quoted_ports(payload: &[u8]) -> Option<(u16, u16)> {
    (payload.len() >= 4).then(|| (u16_be(payload, 0), u16_be(payload, 2)))
}

fn ports(payload: &[u8]) -> Transport<'_> {
    Transport::Datagram {
        source: u16_be(payload, 0),
        destination: u16_be(payload, 2),
    }
}

fn icmp4(payload: &[u8]) -> Transport<'_> {
    match payload[0] {
        8 => Transport::EchoRequest(u16_be(payload, 4)),
        0 => Transport::EchoReply(u16_be(payload, 4)),
        3 | 4 | 5 | 11 | 12 => Transport::IcmpError(&payload[8..]),
        _ => Transport::IcmpOther,
    }
}

fn icmp6(payload: &[u8]) -> Transport<'_> {
    match payload[0] {
        128 => Transport::EchoRequest(u16_be(payload, 4)),
        129 => Transport::EchoReply(u16_be(payload, 4)),
        1..=4 => Transport::IcmpError(&payload[8..]),
        _ => Transport::IcmpOther,
    }
}

fn u16_be(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_header_cut_short_is_short() {
        assert_eq!(parse(protocol::TCP, &[0; 19]), Transport::Short);
        assert_eq!(parse(protocol::UDP, &[0; 7]), Transport::Short);
        assert_eq!(parse(protocol::ICMP, &[8; 7]), Transport::Short);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(number: u8, payload: Vec<u8>) {
            parse(number, &payload);
            quoted_ports(&payload);
        }
    }
}
