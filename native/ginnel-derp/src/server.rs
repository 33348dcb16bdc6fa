//! The relay's side of the login, and which frames it takes from clients.

use crate::frame::MAGIC;
use crate::login::{self, ClientInfo, Secret, ServerInfo, hex, unhex};
use crate::{
    DerpError, Frame, Key, MAX_CLIENT_INFO_SIZE, MAX_PACKET_SIZE, NONCE_SIZE, Rule, kind,
    put_header,
};

/// The points of X25519 with which every secret gives zero, so that a box under them proves nothing; all-zero is "no
/// key" besides (the list of RFC 7748 §6.1's check, in the form libsodium has it: crypto_scalarmult/curve25519).
const LOW_ORDER: [&[u8; 64]; 7] = [
    b"0000000000000000000000000000000000000000000000000000000000000000",
    b"0100000000000000000000000000000000000000000000000000000000000000",
    b"e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    b"5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    b"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    b"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    b"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

const BOX_OVERHEAD: usize = NONCE_SIZE + 16;

/// What a relay takes from a client: bounded bodies for what it knows, anything else passes by.
pub fn server_rule(kind: u8) -> Rule {
    let take = |limit: usize| Rule {
        limit: limit as u32,
        keep: true,
    };
    match kind {
        kind::CLIENT_INFO => take(32 + BOX_OVERHEAD + MAX_CLIENT_INFO_SIZE),
        kind::SEND_PACKET => take(32 + MAX_PACKET_SIZE),
        kind::FORWARD_PACKET => take(64 + MAX_PACKET_SIZE),
        kind::NOTE_PREFERRED => take(1),
        kind::WATCH_CONNS => take(0),
        kind::CLOSE_PEER => take(32),
        kind::PING | kind::PONG => take(1000),
        _ => Rule {
            limit: u32::MAX,
            keep: false,
        },
    }
}

/// Before the login only ClientInfo is taken: who has proved nothing gets no room for anything else.
pub fn login_rule(kind: u8) -> Rule {
    match kind {
        kind::CLIENT_INFO => server_rule(kind),
        _ => Rule {
            limit: 0,
            keep: true,
        },
    }
}

/// The HTTP answer of the normal upgrade; fast start has none.
pub fn upgrade_response(server: &Key) -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: DERP\r\nConnection: Upgrade\r\nDerp-Version: {}\r\n\
         Derp-Public-Key: {}\r\n\r\n",
        crate::PROTOCOL_VERSION,
        hex(server)
    )
}

/// Append the relay's first frame.
pub fn put_server_key(out: &mut Vec<u8>, server: &Key) {
    put_header(out, kind::SERVER_KEY, (MAGIC.len() + server.len()) as u32);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(server);
}

/// Open the client's first frame: its node key, proved, and what it says of itself.
pub fn open_client_info(
    secret: &Secret,
    kind: u8,
    body: &[u8],
) -> Result<(Key, ClientInfo), DerpError> {
    if kind != crate::kind::CLIENT_INFO {
        return Err(DerpError::OutOfOrder {
            expected: "ClientInfo",
            got: kind,
        });
    }
    let Frame::ClientInfo { key, sealed } = Frame::decode(kind, body)? else {
        return Err(DerpError::OutOfOrder {
            expected: "ClientInfo",
            got: kind,
        });
    };
    if is_low_order(key) {
        return Err(DerpError::BadBox { what: "ClientInfo" });
    }
    Ok((*key, login::open_client_info(secret, key, sealed)?))
}

/// Append the relay's answer to a proved client. `nonce` is 24 bytes of entropy, never used before.
pub fn put_server_info(
    out: &mut Vec<u8>,
    secret: &Secret,
    client: &Key,
    nonce: &[u8; NONCE_SIZE],
    info: ServerInfo,
) {
    let json = info.to_json();
    put_header(out, kind::SERVER_INFO, (BOX_OVERHEAD + json.len()) as u32);
    secret.seal(client, nonce, &json, out);
}

/// X25519 ignores the highest bit.
fn is_low_order(key: &Key) -> bool {
    let mut masked = *key;
    masked[31] &= 0x7f;
    LOW_ORDER.iter().any(|point| unhex(*point) == Some(masked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_box_under_a_key_that_anybody_could_prove_opens_nothing() {
        let (relay, anybody) = (Secret::new([7; 32]), Secret::new([8; 32]));
        for (point, high) in LOW_ORDER
            .iter()
            .flat_map(|point| [(point, 0), (point, 0x80)])
        {
            let mut claim = unhex(*point).unwrap();
            claim[31] |= high;
            let mut body = claim.to_vec();
            anybody.seal(&claim, &[1; NONCE_SIZE], b"{}", &mut body);
            assert!(relay.open(&claim, &body[32..]).is_some(), "it would open");
            assert!(open_client_info(&relay, kind::CLIENT_INFO, &body).is_err());
        }
        let mut body = anybody.public().to_vec();
        anybody.seal(&relay.public(), &[1; NONCE_SIZE], b"{}", &mut body);
        let (key, _) = open_client_info(&relay, kind::CLIENT_INFO, &body).unwrap();
        assert_eq!(key, anybody.public());
    }
}
