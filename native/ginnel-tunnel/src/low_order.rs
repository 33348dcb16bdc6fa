//! Public keys whose shared secret is the same for every private key (RFC 7748 §7; cr.yp.to/ecdh.html).

/// The encodings of all points of small order, and of those that reduce to them, with the top bit clear.
const LOW_ORDER: [[u8; 32]; 7] = [
    [0; 32],
    one(),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    near_prime(0xec),
    near_prime(0xed),
    near_prime(0xee),
];

const fn one() -> [u8; 32] {
    let mut key = [0; 32];
    key[0] = 1;
    key
}

const fn near_prime(first: u8) -> [u8; 32] {
    let mut key = [0xff; 32];
    key[0] = first;
    key[31] = 0x7f;
    key
}

/// Whether a public key contributes nothing to a shared secret. The top bit is ignored, as X25519 does.
pub fn is_low_order(key: &[u8; 32]) -> bool {
    let mut masked = *key;
    masked[31] &= 0x7f;
    LOW_ORDER.contains(&masked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use x25519_dalek::{PublicKey, StaticSecret};

    #[test]
    fn each_listed_key_gives_a_zero_secret() {
        let private = StaticSecret::from([0x42; 32]);
        for key in LOW_ORDER {
            let shared = private.diffie_hellman(&PublicKey::from(key));
            assert!(!shared.was_contributory(), "{key:02x?}");
            let mut high = key;
            high[31] |= 0x80;
            assert!(is_low_order(&high));
        }
    }

    #[test]
    fn an_honest_key_is_none_of_them() {
        let public = PublicKey::from(&StaticSecret::from([0x42; 32]));
        assert!(!is_low_order(public.as_bytes()));
    }
}
