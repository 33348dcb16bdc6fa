//! The two sealed boxes of the login: XSalsa20-Poly1305 under X25519 of the two sides' keys (NaCl box), JSON inside.
//! Go's JSON reader takes field names in any case and ignores those it doesn't know; so do we.

use crypto_box::aead::AeadInPlace;
use serde_json::{Map, Value};

use crate::{DerpError, Key, NONCE_SIZE, PROTOCOL_VERSION};

const TAG_SIZE: usize = 16;
const CLIENT_INFO: &str = "ClientInfo";
const SERVER_INFO: &str = "ServerInfo";

/// A private key; it never prints and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(crypto_box::SecretKey);

impl Secret {
    /// From 32 bytes; they are clamped in use.
    pub fn new(bytes: Key) -> Self {
        Self(crypto_box::SecretKey::from(bytes))
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> Key {
        *self.0.public_key().as_bytes()
    }

    pub(crate) fn seal(&self, to: &Key, nonce: &[u8; NONCE_SIZE], plain: &[u8], out: &mut Vec<u8>) {
        let mut sealed = plain.to_vec();
        let shared = crypto_box::SalsaBox::new(&crypto_box::PublicKey::from(*to), &self.0);
        // A NaCl box fails only above 256 GiB; these have a hundred bytes.
        if let Ok(tag) = shared.encrypt_in_place_detached(nonce.into(), b"", &mut sealed) {
            out.extend_from_slice(nonce);
            out.extend_from_slice(&tag);
            out.extend_from_slice(&sealed);
        }
    }

    pub(crate) fn open(&self, from: &Key, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_SIZE>()?;
        let (tag, sealed) = rest.split_first_chunk::<TAG_SIZE>()?;
        let shared = crypto_box::SalsaBox::new(&crypto_box::PublicKey::from(*from), &self.0);
        let mut plain = sealed.to_vec();
        let opened = shared.decrypt_in_place_detached(nonce.into(), b"", &mut plain, tag.into());
        opened.ok().map(|()| plain)
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

/// What a client says of itself.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// Protocol version; real clients send 2.
    pub version: u32,
    /// It shows that the client is a relay of the same region. It never prints.
    pub mesh_key: Option<[u8; 32]>,
    /// The client answers pings.
    pub can_ack_pings: bool,
    /// The client only measures.
    pub is_prober: bool,
    /// Program around the engine; often empty.
    pub app_name: String,
}

impl std::fmt::Debug for ClientInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientInfo")
            .field("version", &self.version)
            .field("mesh_key", &self.mesh_key.is_some())
            .field("can_ack_pings", &self.can_ack_pings)
            .field("is_prober", &self.is_prober)
            .field("app_name", &self.app_name)
            .finish()
    }
}

impl ClientInfo {
    /// A node of this program.
    pub fn node(app_name: &str) -> Self {
        Self {
            version: PROTOCOL_VERSION,
            can_ack_pings: true,
            app_name: app_name.into(),
            ..Self::default()
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let mut text = String::from("{");
        if let Some(key) = self.mesh_key {
            text += &format!("\"meshKey\":\"{}\",", hex(&key));
        }
        text += &format!("\"version\":{}", self.version);
        if self.can_ack_pings {
            text += ",\"CanAckPings\":true";
        }
        if self.is_prober {
            text += ",\"IsProber\":true";
        }
        if !self.app_name.is_empty() {
            text += &format!(",\"AppName\":{}", Value::from(self.app_name.as_str()));
        }
        (text + "}").into_bytes()
    }

    pub(crate) fn from_json(text: &[u8]) -> Result<Self, DerpError> {
        let mut info = Self::default();
        for (name, value) in object(CLIENT_INFO, text)? {
            let bad = || bad_json(CLIENT_INFO, &name);
            match name.to_ascii_lowercase().as_str() {
                _ if value.is_null() => {}
                "version" => info.version = as_u32(&value).ok_or_else(bad)?,
                "canackpings" => info.can_ack_pings = value.as_bool().ok_or_else(bad)?,
                "isprober" => info.is_prober = value.as_bool().ok_or_else(bad)?,
                "appname" => info.app_name = value.as_str().ok_or_else(bad)?.into(),
                "meshkey" => {
                    info.mesh_key = mesh_key(value.as_str().ok_or_else(bad)?).ok_or_else(bad)?
                }
                _ => {}
            }
        }
        Ok(info)
    }
}

/// What the relay says of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ServerInfo {
    /// Protocol version; real relays send 2.
    pub version: u32,
    /// The client drops what is above this rate; 0: no limit.
    pub bytes_per_second: u64,
    /// Bucket that belongs to it.
    pub bytes_burst: u64,
}

impl ServerInfo {
    pub(crate) fn to_json(self) -> Vec<u8> {
        let mut text = format!("{{\"version\":{}", self.version);
        if self.bytes_per_second > 0 {
            text += &format!(",\"TokenBucketBytesPerSecond\":{}", self.bytes_per_second);
        }
        if self.bytes_burst > 0 {
            text += &format!(",\"TokenBucketBytesBurst\":{}", self.bytes_burst);
        }
        (text + "}").into_bytes()
    }

    pub(crate) fn from_json(text: &[u8]) -> Result<Self, DerpError> {
        let mut info = Self::default();
        for (name, value) in object(SERVER_INFO, text)? {
            let bad = || bad_json(SERVER_INFO, &name);
            match name.to_ascii_lowercase().as_str() {
                _ if value.is_null() => {}
                "version" => info.version = as_u32(&value).ok_or_else(bad)?,
                "tokenbucketbytespersecond" => {
                    info.bytes_per_second = value.as_u64().ok_or_else(bad)?
                }
                "tokenbucketbytesburst" => info.bytes_burst = value.as_u64().ok_or_else(bad)?,
                _ => {}
            }
        }
        Ok(info)
    }

    pub(crate) fn open(secret: &Secret, server: &Key, sealed: &[u8]) -> Result<Self, DerpError> {
        let plain = secret
            .open(server, sealed)
            .ok_or(DerpError::BadBox { what: SERVER_INFO })?;
        Self::from_json(&plain)
    }
}

pub(crate) fn open_client_info(
    secret: &Secret,
    client: &Key,
    sealed: &[u8],
) -> Result<ClientInfo, DerpError> {
    let plain = secret
        .open(client, sealed)
        .ok_or(DerpError::BadBox { what: CLIENT_INFO })?;
    ClientInfo::from_json(&plain)
}

fn object(what: &'static str, text: &[u8]) -> Result<Map<String, Value>, DerpError> {
    serde_json::from_slice(text).map_err(|e| DerpError::BadJson {
        what,
        why: format!("{:?} error", e.classify()),
    })
}

fn bad_json(what: &'static str, name: &str) -> DerpError {
    let name: String = name
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(32)
        .collect();
    DerpError::BadJson {
        what,
        why: format!("field {name}"),
    }
}

fn as_u32(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|number| u32::try_from(number).ok())
}

/// The empty text is no key; any other length than 64 digits is refused, as Go's reader does.
fn mesh_key(text: &str) -> Option<Option<[u8; 32]>> {
    if text.is_empty() {
        Some(None)
    } else {
        unhex(text.as_bytes()).map(Some)
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &[u8]) -> Option<[u8; 32]> {
    let digits: &[u8; 64] = text.try_into().ok()?;
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(bytes)
}
