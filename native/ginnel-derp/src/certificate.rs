//! The relay's key in its certificate chain: a self-signed certificate whose common name is `derpkey` and 64 hex
//! digits and whose serial number is the protocol version (tailscale: derp/derphttp/derphttp_client.go,
//! parseMetaCert). Finding it lets a client log in without waiting for the relay's first frame.

use crate::login::unhex;
use crate::{Key, PROTOCOL_VERSION};

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const VERSION: u8 = 0xa0;
const COMMON_NAME: [u8; 5] = [0x06, 0x03, 0x55, 0x04, 0x03];

/// The relay's key, if this X.509 certificate (DER) is of the kind that carries one in our protocol version.
/// It is no proof: a client still has to open the relay's box.
pub fn server_key_in_certificate(der: &[u8]) -> Option<Key> {
    let (certificate, _) = element(der, SEQUENCE)?;
    let (body, _) = element(certificate, SEQUENCE)?;
    let body = element(body, VERSION).map_or(body, |(_, rest)| rest);
    let (serial, rest) = element(body, INTEGER)?;
    if serial != [PROTOCOL_VERSION as u8] {
        return None;
    }
    let (_signature, rest) = element(rest, SEQUENCE)?;
    let (_issuer, rest) = element(rest, SEQUENCE)?;
    let (_validity, rest) = element(rest, SEQUENCE)?;
    let (mut subject, _) = element(rest, SEQUENCE)?;
    while !subject.is_empty() {
        let (names, rest) = element(subject, SET)?;
        let (attribute, _) = element(names, SEQUENCE)?;
        if let Some(value) = attribute.strip_prefix(&COMMON_NAME) {
            let (_, text, _) = any_element(value)?;
            return unhex(text.strip_prefix(b"derpkey")?);
        }
        subject = rest;
    }
    None
}

fn element(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    any_element(der).and_then(|(found, body, rest)| (found == tag).then_some((body, rest)))
}

/// Tag, content and what follows; lengths of up to two bytes, which certificates stay within.
fn any_element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (size, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81 => rest
            .split_first()
            .map(|(&byte, rest)| (usize::from(byte), rest))?,
        0x82 => rest
            .split_first_chunk()
            .map(|(bytes, rest)| (usize::from(u16::from_be_bytes(*bytes)), rest))?,
        _ => return None,
    };
    let (body, rest) = rest.split_at_checked(size)?;
    Some((tag, body, rest))
}
