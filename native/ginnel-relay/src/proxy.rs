//! The PROXY v2 preamble that tells the server behind who is in front (haproxy: doc/proxy-protocol.txt, §2.2).

use std::net::{IpAddr, SocketAddr};

const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
const VERSION_2_PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;
const TYPE_SSL: u8 = 0x20;
const SUBTYPE_SSL_VERSION: u8 = 0x21;
const CLIENT_SSL: u8 = 0x01;

/// `tls`: "TLSv1.2" or "TLSv1.3" if the client came by TLS.
pub(crate) fn preamble(source: SocketAddr, destination: SocketAddr, tls: Option<&str>) -> Vec<u8> {
    let (family, addresses) = addresses(source, destination);
    let tls = tls.map_or_else(Vec::new, ssl);
    let mut out = SIGNATURE.to_vec();
    out.extend_from_slice(&[VERSION_2_PROXY, family]);
    out.extend_from_slice(&((addresses.len() + tls.len()) as u16).to_be_bytes());
    out.extend_from_slice(&addresses);
    out.extend_from_slice(&tls);
    out
}

fn addresses(source: SocketAddr, destination: SocketAddr) -> (u8, Vec<u8>) {
    let ports = [
        source.port().to_be_bytes(),
        destination.port().to_be_bytes(),
    ]
    .concat();
    match (source.ip().to_canonical(), destination.ip().to_canonical()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => (
            TCP_OVER_IPV4,
            [&from.octets()[..], &to.octets(), &ports].concat(),
        ),
        (from, to) => (
            TCP_OVER_IPV6,
            [&octets(from)[..], &octets(to), &ports].concat(),
        ),
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// TLS was used, the client showed no certificate (verify is not 0 then).
fn ssl(version: &str) -> Vec<u8> {
    let mut value = vec![CLIENT_SSL, 0, 0, 0, 1, SUBTYPE_SSL_VERSION];
    value.extend_from_slice(&(version.len() as u16).to_be_bytes());
    value.extend_from_slice(version.as_bytes());
    let mut out = vec![TYPE_SSL];
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(&value);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ipv4_with_tls() {
        let bytes = preamble(
            address("192.0.2.1:258"),
            address("198.51.100.2:443"),
            Some("TLSv1.3"),
        );
        let expected = [
            &SIGNATURE[..],
            &[
                0x21,
                0x11,
                0,
                12 + 3 + 8 + 7,
                192,
                0,
                2,
                1,
                198,
                51,
                100,
                2,
                1,
                2,
                1,
                0xbb,
            ],
            &[0x20, 0, 15, 1, 0, 0, 0, 1, 0x21, 0, 7],
            b"TLSv1.3",
        ];
        assert_eq!(bytes, expected.concat());
    }

    #[test]
    fn mapped_addresses_are_ipv4_and_mixed_ones_ipv6() {
        let mapped = preamble(
            address("[::ffff:192.0.2.1]:1"),
            address("192.0.2.2:2"),
            None,
        );
        assert_eq!(mapped[13..16], [0x11, 0, 12]);
        let six = preamble(address("[2001:db8::1]:1"), address("[2001:db8::2]:2"), None);
        assert_eq!(six[13..16], [0x21, 0, 36]);
        assert_eq!(six.len(), 16 + 36);
    }
}
