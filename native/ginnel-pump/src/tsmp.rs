//! Messages between tunnel ends, IP protocol 99 (tailscale: net/packet/tsmp.go).

use std::net::IpAddr;

use bytes::BytesMut;
use ginnel_wire::ip::{Ip, fold, protocol, sum};
use ginnel_wire::transport::{Transport, parse};

use crate::Key;

const REJECT: u8 = b'!';
const PING: u8 = b'p';
const PONG: u8 = b'o';
const DISCO_KEY: u8 = b'a';
/// The filter lets no such flow in.
const REASON_ACL: u8 = b'A';

/// What a message asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Tsmp {
    /// Send this packet back.
    Answer(BytesMut),
    /// The peer's disco key.
    DiscoKey(Key),
    /// Nothing.
    Nothing,
}

/// Read a message that was addressed to us.
pub fn take(ip: &Ip<'_>) -> Tsmp {
    match ip.payload {
        [PING, data @ ..] if data.len() >= 8 => {
            let mut pong = vec![PONG];
            pong.extend_from_slice(&data[..8]);
            pong.extend_from_slice(&[0, 0]); // no peer API port
            packet(ip.destination, ip.source, &pong).map_or(Tsmp::Nothing, Tsmp::Answer)
        }
        [DISCO_KEY, key @ ..] => match key.get(..32).and_then(|key| key.try_into().ok()) {
            Some(key) => Tsmp::DiscoKey(key),
            None => Tsmp::Nothing,
        },
        _ => Tsmp::Nothing,
    }
}

/// Ask for an answer; `None` if the families differ. Whose answer it is need not be marked: the tunnel vouches for it.
pub fn ping(source: IpAddr, destination: IpAddr) -> Option<BytesMut> {
    packet(source, destination, &[PING, 0, 0, 0, 0, 0, 0, 0, 0])
}

/// Tell the sender of a refused IPv4 TCP connection why nothing answers.
pub fn reject(ip: &Ip<'_>) -> Option<BytesMut> {
    let Transport::Tcp {
        source,
        destination,
        ..
    } = parse(ip.protocol, ip.payload)
    else {
        return None;
    };
    if ip.source.is_ipv6() {
        return None;
    }
    let mut body = vec![REJECT, protocol::TCP, REASON_ACL];
    body.extend_from_slice(&source.to_be_bytes());
    body.extend_from_slice(&destination.to_be_bytes());
    packet(ip.destination, ip.source, &body)
}

/// An IP packet of protocol 99; `None` if the families differ.
fn packet(source: IpAddr, destination: IpAddr, body: &[u8]) -> Option<BytesMut> {
    let mut bytes = BytesMut::with_capacity(64 + body.len());
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let total = (20 + body.len()) as u16;
            bytes.extend_from_slice(&[0x45, 0]);
            bytes.extend_from_slice(&total.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, 0, 0, 64, protocol::TSMP, 0, 0]);
            bytes.extend_from_slice(&source.octets());
            bytes.extend_from_slice(&destination.octets());
            let checksum = !fold(sum(&bytes, 0));
            bytes[10..12].copy_from_slice(&checksum.to_be_bytes());
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            bytes.extend_from_slice(&[0x60, 0, 0, 0]);
            bytes.extend_from_slice(&(body.len() as u16).to_be_bytes());
            bytes.extend_from_slice(&[protocol::TSMP, 64]);
            bytes.extend_from_slice(&source.octets());
            bytes.extend_from_slice(&destination.octets());
        }
        _ => return None,
    }
    bytes.extend_from_slice(body);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ginnel_wire::ip;

    fn between(body: &[u8]) -> BytesMut {
        packet([100, 64, 0, 1].into(), [100, 64, 0, 2].into(), body).unwrap()
    }

    #[test]
    fn a_ping_is_answered_with_its_data() {
        let ping = between(b"p12345678");
        let Tsmp::Answer(pong) = take(&ip::parse(&ping).unwrap()) else {
            panic!("no answer");
        };
        let pong = ip::parse(&pong).unwrap();
        assert_eq!(pong.payload, b"o12345678\0\0");
        assert_eq!(pong.destination, IpAddr::from([100, 64, 0, 1]));
    }

    #[test]
    fn a_ping_of_ours_is_one_that_is_answered() {
        for (source, destination) in [("100.64.0.1", "100.64.0.2"), ("fd7a::1", "fd7a::2")] {
            let (source, destination) = (source.parse().unwrap(), destination.parse().unwrap());
            let ours = ping(source, destination).unwrap();
            let Tsmp::Answer(pong) = take(&ip::parse(&ours).unwrap()) else {
                panic!("no answer");
            };
            let pong = ip::parse(&pong).unwrap();
            assert_eq!((pong.source, pong.destination), (destination, source));
        }
        let v6 = "fd7a::2".parse().unwrap();
        assert_eq!(ping([100, 64, 0, 1].into(), v6), None);
    }

    #[test]
    fn a_short_ping_and_an_unknown_message_are_nothing() {
        for body in [&b"p1234567"[..], b"z", b"a123"] {
            assert_eq!(take(&ip::parse(&between(body)).unwrap()), Tsmp::Nothing);
        }
    }

    #[test]
    fn a_disco_key_is_read() {
        let mut body = vec![b'a'];
        body.extend([7; 32]);
        assert_eq!(
            take(&ip::parse(&between(&body)).unwrap()),
            Tsmp::DiscoKey([7; 32])
        );
    }
}
