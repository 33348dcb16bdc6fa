//! One IP packet's header (RFC 791 §3.1, RFC 8200 §3-§4): addresses, length, protocol, fragment.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Protocol numbers that the filter knows.
pub mod protocol {
    /// ICMP for IPv4.
    pub const ICMP: u8 = 1;
    /// TCP.
    pub const TCP: u8 = 6;
    /// UDP.
    pub const UDP: u8 = 17;
    /// ICMP for IPv6.
    pub const ICMPV6: u8 = 58;
    /// "Any private encryption scheme": used between tunnel ends (tailscale: net/packet/tsmp.go).
    pub const TSMP: u8 = 99;
    /// SCTP.
    pub const SCTP: u8 = 132;
}

/// Extension headers walked before the packet counts as unreadable.
const MAX_EXTENSIONS: usize = 8;

/// Why bytes are no IP packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IpError {
    /// Fewer bytes than the header or its length field say.
    #[error("shorter than its header says")]
    Short,
    /// Neither version 4 nor 6.
    #[error("not IPv4 or IPv6")]
    Version,
    /// A header length below the minimum, or a chain of extension headers that is too long.
    #[error("malformed header")]
    Header,
}

/// Where in a fragmented datagram this packet stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fragment {
    /// Not fragmented.
    Whole,
    /// The first fragment, which holds the transport header.
    First,
    /// A later one, with its offset in bytes.
    Later(usize),
}

/// A parsed IP packet. `payload` starts at the transport header and ends where the length field says.
#[derive(Clone, Copy, Debug)]
pub struct Ip<'a> {
    /// Source address.
    pub source: IpAddr,
    /// Destination address.
    pub destination: IpAddr,
    /// Transport protocol, after extension headers.
    pub protocol: u8,
    /// Fragment state.
    pub fragment: Fragment,
    /// Offset of the transport header.
    pub header_len: usize,
    /// Bytes of the packet by its own length field: what follows is padding.
    pub total_len: usize,
    /// Transport header and data.
    pub payload: &'a [u8],
}

/// Parse one packet; trailing bytes are padding.
pub fn parse(bytes: &[u8]) -> Result<Ip<'_>, IpError> {
    match bytes.first().map(|b| b >> 4) {
        Some(4) => parse_v4(bytes),
        Some(6) => parse_v6(bytes),
        Some(_) => Err(IpError::Version),
        None => Err(IpError::Short),
    }
}

fn parse_v4(bytes: &[u8]) -> Result<Ip<'_>, IpError> {
    if bytes.len() < 20 {
        return Err(IpError::Short);
    }
    let header_len = usize::from(bytes[0] & 0x0f) * 4;
    let total_len = usize::from(u16_be(bytes, 2));
    if header_len < 20 || total_len < header_len {
        return Err(IpError::Header);
    }
    let payload = bytes.get(header_len..total_len).ok_or(IpError::Short)?;
    Ok(Ip {
        source: v4(bytes, 12),
        destination: v4(bytes, 16),
        protocol: bytes[9],
        fragment: fragment(
            usize::from(u16_be(bytes, 6) & 0x1fff) * 8,
            bytes[6] & 0x20 != 0,
        ),
        header_len,
        total_len,
        payload,
    })
}

fn parse_v6(bytes: &[u8]) -> Result<Ip<'_>, IpError> {
    if bytes.len() < 40 {
        return Err(IpError::Short);
    }
    let total_len = 40 + usize::from(u16_be(bytes, 4));
    let packet = bytes.get(..total_len).ok_or(IpError::Short)?;
    let (protocol, header_len, fragment) = walk_extensions(packet)?;
    Ok(Ip {
        source: v6(bytes, 8),
        destination: v6(bytes, 24),
        protocol,
        fragment,
        header_len,
        total_len,
        payload: &packet[header_len..],
    })
}

/// Returns (protocol, offset of its header, fragment state).
fn walk_extensions(packet: &[u8]) -> Result<(u8, usize, Fragment), IpError> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let (mut next, mut at, mut state) = (packet[6], 40, Fragment::Whole);
    for _ in 0..MAX_EXTENSIONS {
        let len = match next {
            HOP_BY_HOP | ROUTING | DESTINATION => {
                8 + 8 * usize::from(*packet.get(at + 1).ok_or(IpError::Short)?)
            }
            FRAGMENT => {
                let field = u16_be(packet.get(at..at + 8).ok_or(IpError::Short)?, 2);
                state = fragment(usize::from(field & 0xfff8), field & 1 != 0);
                8
            }
            _ => return Ok((next, at, state)),
        };
        next = *packet.get(at).ok_or(IpError::Short)?;
        at += len;
        if at > packet.len() {
            return Err(IpError::Short);
        }
        if matches!(state, Fragment::Later(_)) {
            return Ok((next, at, state));
        }
    }
    Err(IpError::Header)
}

fn fragment(offset: usize, more: bool) -> Fragment {
    match (offset, more) {
        (0, false) => Fragment::Whole,
        (0, true) => Fragment::First,
        _ => Fragment::Later(offset),
    }
}

fn v4(bytes: &[u8], at: usize) -> IpAddr {
    let octets: [u8; 4] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    IpAddr::V4(Ipv4Addr::from(octets))
}

fn v6(bytes: &[u8], at: usize) -> IpAddr {
    let mut octets = [0; 16];
    octets.copy_from_slice(&bytes[at..at + 16]);
    IpAddr::V6(Ipv6Addr::from(octets))
}

fn u16_be(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// The header checksum's sum over `bytes`, not yet folded (RFC 1071).
pub fn sum(bytes: &[u8], initial: u64) -> u64 {
    let mut pairs = bytes.chunks_exact(2);
    let mut total = initial;
    for pair in &mut pairs {
        total += u64::from(u16::from_be_bytes([pair[0], pair[1]]));
    }
    if let [last] = pairs.remainder() {
        total += u64::from(*last) << 8;
    }
    total
}

/// Fold a sum to 16 bits; the checksum is its complement.
pub fn fold(mut total: u64) -> u16 {
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn v4_packet(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x45, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0];
        bytes[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
        bytes.extend([100, 64, 0, 1, 100, 64, 0, 2]);
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn padding_after_the_length_is_no_payload() {
        let mut bytes = v4_packet(17, 0, &[1, 2, 3]);
        bytes.extend([0; 9]);
        let ip = parse(&bytes).unwrap();
        assert_eq!((ip.total_len, ip.payload), (23, &[1u8, 2, 3][..]));
    }

    #[test]
    fn a_length_beyond_the_bytes_is_short() {
        let mut bytes = v4_packet(17, 0, &[1, 2, 3]);
        bytes[3] += 1;
        assert_eq!(parse(&bytes).unwrap_err(), IpError::Short);
    }

    #[test]
    fn fragments_tell_their_place() {
        assert_eq!(
            parse(&v4_packet(6, 0x2000, &[0; 8])).unwrap().fragment,
            Fragment::First
        );
        assert_eq!(
            parse(&v4_packet(6, 10, &[0; 8])).unwrap().fragment,
            Fragment::Later(80)
        );
    }

    #[test]
    fn extension_headers_are_walked_and_bounded() {
        let mut bytes = vec![0x60, 0, 0, 0, 0, 16, 0, 64];
        bytes.extend([0xfd; 32]);
        bytes.extend([6, 0, 0, 0, 0, 0, 0, 0]);
        bytes.extend([9; 8]);
        let ip = parse(&bytes).unwrap();
        assert_eq!((ip.protocol, ip.header_len), (6, 48));
        let mut chain = vec![0x60, 0, 0, 0, 0, 80, 0, 64];
        chain.extend([0xfd; 32]);
        chain.extend([0; 80]);
        assert_eq!(parse(&chain).unwrap_err(), IpError::Header);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_packet_or_an_error(mut bytes: Vec<u8>, version in prop::sample::select(vec![4u8, 6, 0])) {
            if let Some(first) = bytes.first_mut() {
                *first = version << 4 | *first & 0x0f;
            }
            if let Ok(ip) = parse(&bytes) {
                prop_assert!(ip.total_len <= bytes.len());
                prop_assert_eq!(ip.header_len + ip.payload.len(), ip.total_len);
            }
        }
    }
}
