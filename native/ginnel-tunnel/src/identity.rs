//! What all tunnels of one node share: its static key, session indices, and the gate before every handshake.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use gotatun::noise::TunnResult;
use gotatun::noise::handshake::parse_handshake_anon;
use gotatun::noise::index_table::IndexTable;
use gotatun::noise::rate_limiter::RateLimiter;
use gotatun::packet::{Packet, WgKind};
use gotatun::x25519::{PublicKey, StaticSecret};
use parking_lot::Mutex;

use crate::low_order::is_low_order;

/// Handshake messages a second from one address before it must prove that it owns the address.
const PER_SOURCE: u64 = 20;
/// Handshake messages a second from everybody before all must prove it. One costs about 0.1 ms of Diffie-Hellman.
const OVERALL: u32 = 200;
const WINDOW: Duration = Duration::from_secs(1);

/// A handshake message that passed the gate, still sealed.
pub enum Handshake {
    /// An initiation, and the static key that it claims.
    Initiation([u8; 32], WgKind),
    /// A response or a cookie reply: its receiver index tells whose it is.
    Answer(WgKind),
}

/// What the gate says.
pub enum Admission {
    /// Go on with it.
    Pass(Handshake),
    /// Under load: send this cookie reply back.
    Reply(BytesMut),
    /// Drop it.
    Refuse(Refusal),
}

/// Why a handshake message was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Not a handshake message.
    Malformed,
    /// `mac1` is wrong: the sender does not know our public key.
    Mac,
    /// The claimed static key could not be opened, or a key in it is of low order.
    Key,
}

/// This node's static key and what its tunnels share.
pub struct Identity {
    private: StaticSecret,
    public: PublicKey,
    pub(crate) indices: IndexTable,
    pub(crate) calm: Arc<RateLimiter>,
    strict: Arc<RateLimiter>,
    load: Mutex<Load>,
}

struct Load {
    since: Instant,
    count: u32,
    strict: bool,
}

impl Identity {
    /// `private`: the X25519 node key. `now`: any start for the load window.
    pub fn new(private: [u8; 32], now: Instant) -> Identity {
        let private = StaticSecret::from(private);
        let public = PublicKey::from(&private);
        Identity {
            indices: IndexTable::from_os_rng(),
            calm: Arc::new(RateLimiter::new(&public, PER_SOURCE)),
            strict: Arc::new(RateLimiter::new(&public, 0)),
            load: Mutex::new(Load {
                since: now,
                count: 0,
                strict: false,
            }),
            private,
            public,
        }
    }

    /// This node's public key.
    pub fn public(&self) -> [u8; 32] {
        self.public.to_bytes()
    }

    pub(crate) fn private(&self) -> StaticSecret {
        self.private.clone()
    }

    /// Check a handshake message before anything costly is done for it.
    ///
    /// `mac1` comes first; under load a cookie bound to `source` must be in `mac2`; then an initiation's static key is
    /// opened, so that the caller can look its peer up.
    pub fn admit(&self, source: SocketAddr, message: BytesMut, now: Instant) -> Admission {
        let limiter = self.limiter(now);
        match limiter.verify_packet(source, Packet::from_bytes(message)) {
            Ok(kind) => self.identify(kind),
            Err(TunnResult::WriteToNetwork(reply)) => Admission::Reply(bytes_of(reply)),
            Err(TunnResult::Err(gotatun::noise::errors::WireGuardError::InvalidMac)) => {
                Admission::Refuse(Refusal::Mac)
            }
            Err(_) => Admission::Refuse(Refusal::Malformed),
        }
    }

    fn limiter(&self, now: Instant) -> &RateLimiter {
        let mut load = self.load.lock();
        if now.saturating_duration_since(load.since) >= WINDOW {
            load.strict = load.count > OVERALL;
            load.since = now;
            load.count = 0;
            self.calm.try_reset_count();
            self.strict.try_reset_count();
        }
        load.count = load.count.saturating_add(1);
        load.strict |= load.count > OVERALL;
        if load.strict {
            &self.strict
        } else {
            &self.calm
        }
    }

    fn identify(&self, kind: WgKind) -> Admission {
        match kind {
            WgKind::HandshakeInit(packet) => {
                if is_low_order(&packet.unencrypted_ephemeral) {
                    return Admission::Refuse(Refusal::Key);
                }
                match parse_handshake_anon(&self.private, &self.public, &packet) {
                    Ok(half) => Admission::Pass(Handshake::Initiation(
                        half.peer_static_public,
                        packet.into(),
                    )),
                    Err(_) => Admission::Refuse(Refusal::Key),
                }
            }
            WgKind::HandshakeResp(packet) if is_low_order(&packet.unencrypted_ephemeral) => {
                Admission::Refuse(Refusal::Key)
            }
            WgKind::Data(_) => Admission::Refuse(Refusal::Malformed),
            answer => Admission::Pass(Handshake::Answer(answer)),
        }
    }
}

pub(crate) fn bytes_of(kind: WgKind) -> BytesMut {
    let mut packet: Packet = kind.into();
    std::mem::take(packet.buf_mut())
}
