//! What one UDP datagram is (tailscale: net/packet/geneve.go, wgengine/magicsock/magicsock.go, disco/disco.go).
//!
//! All four protocols share one port. The tests are tried in this order, and what fits none is WireGuard's,
//! which drops whatever is malformed.

/// The first bytes of every disco message: "TS" and U+1F4AC.
pub const DISCO_MAGIC: [u8; 6] = [0x54, 0x53, 0xf0, 0x9f, 0x92, 0xac];
/// Magic and the sender's key: less can be no disco message.
pub const DISCO_MIN: usize = 38;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_HEADER: usize = 20;
const GENEVE_HEADER: usize = 8;
const GENEVE_DISCO: [u8; 2] = [0x7a, 0x11];
const GENEVE_WIREGUARD: [u8; 2] = [0x7a, 0x12];

/// The class of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// A STUN binding message.
    Stun,
    /// Disco inside Geneve, from a peer relay.
    GeneveDisco,
    /// WireGuard inside Geneve: the message starts 8 bytes in.
    GeneveWireGuard,
    /// A disco message.
    Disco,
    /// Everything else.
    WireGuard,
}

/// Tell what a datagram is.
pub fn classify(datagram: &[u8]) -> Datagram {
    match datagram {
        d if is_stun(d) => Datagram::Stun,
        d if is_geneve(d, GENEVE_DISCO) && d[GENEVE_HEADER..].starts_with(&DISCO_MAGIC) => {
            Datagram::GeneveDisco
        }
        d if is_geneve(d, GENEVE_WIREGUARD) => Datagram::GeneveWireGuard,
        d if is_disco(d) => Datagram::Disco,
        _ => Datagram::WireGuard,
    }
}

/// Whether a relayed or received payload is a disco message.
pub fn is_disco(datagram: &[u8]) -> bool {
    datagram.len() >= DISCO_MIN && datagram.starts_with(&DISCO_MAGIC)
}

fn is_stun(d: &[u8]) -> bool {
    d.len() >= STUN_HEADER && d[0] & 0xc0 == 0 && d[1] == 0x01 && d[4..8] == STUN_COOKIE
}

fn is_geneve(d: &[u8], protocol: [u8; 2]) -> bool {
    d.len() >= GENEVE_HEADER
        && d[0] & 0xc0 == 0
        && d[1] & 0x3f == 0
        && d[7] == 0
        && d[2..4] == protocol
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stun_answer_is_stun() {
        let mut answer = vec![0x01, 0x01, 0x00, 0x0c, 0x21, 0x12, 0xa4, 0x42];
        answer.extend([0; 24]);
        assert_eq!(classify(&answer), Datagram::Stun);
        assert_eq!(classify(&answer[..19]), Datagram::WireGuard);
    }

    #[test]
    fn disco_needs_its_magic_and_a_key() {
        let mut disco = DISCO_MAGIC.to_vec();
        disco.resize(DISCO_MIN, 7);
        assert_eq!(classify(&disco), Datagram::Disco);
        assert_eq!(classify(&disco[..DISCO_MIN - 1]), Datagram::WireGuard);
    }

    #[test]
    fn geneve_is_told_by_its_protocol() {
        let mut data = vec![0x00, 0x00, 0x7a, 0x12, 0x12, 0x34, 0x56, 0x00];
        assert_eq!(classify(&data), Datagram::GeneveWireGuard);
        data[3] = 0x11;
        assert_eq!(classify(&data), Datagram::WireGuard);
        data[1] = 0x80;
        data.extend(DISCO_MAGIC);
        assert_eq!(classify(&data), Datagram::GeneveDisco);
    }

    #[test]
    fn wireguard_messages_are_never_taken_for_another_class() {
        for kind in 1..=4u8 {
            let mut message = vec![kind, 0, 0, 0];
            message.resize(148, 0x21);
            assert_eq!(classify(&message), Datagram::WireGuard);
        }
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_class(bytes: Vec<u8>) {
            classify(&bytes);
        }
    }
}
