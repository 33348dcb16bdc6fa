//! A binding request in, its answer out, or nothing (tailscale: net/stun/stun.go; RFC 8489 §5, §14.2). Strict: only
//! what nodes send is answered, and a request without attributes, by which people try a server with the tools that they
//! have (turnutils_stunclient). Neither is an answer, so nothing that is reflected here comes back.

use std::net::{IpAddr, SocketAddr};

/// Request of a node: header, SOFTWARE "tailnode", FINGERPRINT.
pub(crate) const REQUEST_SIZE: usize = 40;
pub(crate) const MAX_ANSWER_SIZE: usize = 44;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const REQUEST_HEAD: [u8; 8] = [0, 1, 0, 20, 0x21, 0x12, 0xa4, 0x42];
const SOFTWARE: [u8; 12] = *b"\x80\x22\x00\x08tailnode";
const FINGERPRINT: [u8; 4] = [0x80, 0x28, 0, 4];
const FINGERPRINT_XOR: u32 = 0x5354_554e;
const BARE_HEAD: [u8; 8] = [0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
/// A request without attributes: its answer is longer than itself (32 bytes or 44), so a place gets few of them.
const BARE_SIZE: usize = 20;
const BARE_COST: u64 = 20;

/// The answer's bytes in `out` and their number; None: stay silent.
pub(crate) fn answer(
    packet: &[u8],
    source: SocketAddr,
    out: &mut [u8; MAX_ANSWER_SIZE],
) -> Option<usize> {
    let transaction: &[u8; 12] = packet.get(8..BARE_SIZE)?.try_into().ok()?;
    let sound = is_of_a_node(packet) || is_bare(packet);
    (sound && answerable(source)).then(|| write_answer(transaction, source, out))
}

fn is_of_a_node(packet: &[u8]) -> bool {
    let request: Option<&[u8; REQUEST_SIZE]> = packet.try_into().ok();
    request.is_some_and(|request| {
        request[..8] == REQUEST_HEAD
            && request[20..32] == SOFTWARE
            && request[32..36] == FINGERPRINT
            && request[36..] == (crc32(&request[..32]) ^ FINGERPRINT_XOR).to_be_bytes()
    })
}

fn is_bare(packet: &[u8]) -> bool {
    packet.len() == BARE_SIZE && packet[..8] == BARE_HEAD
}

/// How many answers of its place's share this one counts for.
pub(crate) fn cost(packet: &[u8]) -> u64 {
    if packet.len() == BARE_SIZE {
        BARE_COST
    } else {
        1
    }
}

/// Port 0, broadcast and multicast can't have sent anything.
fn answerable(source: SocketAddr) -> bool {
    let anyone = match source.ip().to_canonical() {
        IpAddr::V4(ip) => ip.is_broadcast() || ip.is_multicast() || ip.is_unspecified(),
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unspecified(),
    };
    source.port() != 0 && !anyone
}

fn write_answer(
    transaction: &[u8; 12],
    source: SocketAddr,
    out: &mut [u8; MAX_ANSWER_SIZE],
) -> usize {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&COOKIE);
    mask[4..].copy_from_slice(transaction);
    let (family, mut address, size) = match source.ip().to_canonical() {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            (1, bytes, 4)
        }
        IpAddr::V6(ip) => (2, ip.octets(), 16),
    };
    address
        .iter_mut()
        .zip(mask)
        .for_each(|(byte, mask)| *byte ^= mask);
    out[..4].copy_from_slice(&[1, 1, 0, 8 + size as u8]);
    out[4..20].copy_from_slice(&mask);
    out[20..26].copy_from_slice(&[0, 0x20, 0, 4 + size as u8, 0, family]);
    out[26..28].copy_from_slice(&(source.port() ^ 0x2112).to_be_bytes());
    out[28..28 + size].copy_from_slice(&address[..size]);
    28 + size
}

const CRC_TABLE: [u32; 256] = crc_table();

const fn crc_table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut value = index as u32;
        let mut bit = 0;
        while bit < 8 {
            value = if value & 1 == 1 {
                value >> 1 ^ 0xedb8_8320
            } else {
                value >> 1
            };
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

/// CRC-32 of IEEE 802.3.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc: u32, &byte| {
        CRC_TABLE[((crc ^ u32::from(byte)) & 0xff) as usize] ^ crc >> 8
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const REQUEST: &str =
        "000100142112a442000102030405060708090a0b802200087461696c6e6f6465802800048aabad90";

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
            .collect()
    }

    fn answered(packet: &[u8], source: &str) -> Option<Vec<u8>> {
        let mut out = [0; MAX_ANSWER_SIZE];
        answer(packet, source.parse().unwrap(), &mut out).map(|size| out[..size].to_vec())
    }

    #[test]
    fn the_published_request_has_the_published_answer() {
        let expected = unhex("0101000c2112a442000102030405060708090a0b00200008000183bbea12d545");
        assert_eq!(
            answered(&unhex(REQUEST), "203.0.113.7:41641"),
            Some(expected.clone())
        );
        assert_eq!(
            answered(&unhex(REQUEST), "[::ffff:203.0.113.7]:41641"),
            Some(expected)
        );
    }

    #[test]
    fn an_ipv6_source_is_masked_with_the_transaction() {
        let answer = answered(&unhex(REQUEST), "[2001:db8::1]:41641").unwrap();
        let expected = "010100182112a442000102030405060708090a0b00200014000283bb0113a9fa000102030405060708090a0a";
        assert_eq!(answer, unhex(expected));
    }

    #[test]
    fn sources_that_cannot_be_are_not_answered() {
        for source in [
            "203.0.113.7:0",
            "255.255.255.255:9",
            "224.0.0.1:9",
            "[ff02::1]:9",
            "0.0.0.0:9",
        ] {
            assert_eq!(answered(&unhex(REQUEST), source), None);
        }
    }

    #[test]
    fn a_request_without_attributes_has_the_same_answer_and_costs_more() {
        let bare = unhex("000100002112a442000102030405060708090a0b");
        let source = "203.0.113.7:41641";
        assert_eq!(answered(&bare, source), answered(&unhex(REQUEST), source));
        assert_eq!((cost(&bare), cost(&unhex(REQUEST))), (BARE_COST, 1));
        for at in 0..8 {
            let mut other = bare.clone();
            other[at] ^= 1;
            assert_eq!(answered(&other, source), None, "{at}");
        }
        assert_eq!(answered(&bare[..19], source), None);
    }

    #[test]
    fn our_own_answer_is_not_answered() {
        let ours = answered(&unhex(REQUEST), "[2001:db8::1]:41641").unwrap();
        assert_eq!(answered(&ours, "[2001:db8::1]:3478"), None);
    }

    #[test]
    fn one_wrong_bit_anywhere_but_in_the_address_of_the_wish_means_silence() {
        for bit in 0..REQUEST_SIZE * 8 {
            let mut packet = unhex(REQUEST);
            packet[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(answered(&packet, "203.0.113.7:41641"), None, "{bit}");
        }
    }

    proptest! {
        #[test]
        fn any_other_bytes_are_silence(packet in proptest::collection::vec(any::<u8>(), 0..100)) {
            prop_assert_eq!(answered(&packet, "203.0.113.7:41641"), None);
        }
    }
}
