//! Whose share a source address takes.

use std::net::IpAddr;

/// An IPv4 address or an IPv6 /64: what one household or one machine has.
pub(crate) type Prefix = [u8; 8];

/// Loopback is ourselves or a proxy in front, and has no prefix unless `loopback_too`.
pub(crate) fn prefix(source: IpAddr, loopback_too: bool) -> Option<Prefix> {
    let mut prefix = [0; 8];
    match source.to_canonical() {
        ip if ip.is_loopback() && !loopback_too => return None,
        IpAddr::V4(ip) => prefix[4..].copy_from_slice(&ip.octets()),
        IpAddr::V6(ip) => prefix.copy_from_slice(&ip.octets()[..8]),
    }
    Some(prefix)
}
