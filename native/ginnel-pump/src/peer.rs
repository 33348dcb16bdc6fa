//! One peer: its tunnel, where its packets go, and what was counted.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use arc_swap::ArcSwap;
use bytes::BytesMut;
use ginnel_tunnel::{Identity, Tunnel};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use crate::Key;
use crate::asides::Origin;
use crate::copies::Copies;
use crate::flows::Flows;
use crate::prefix::Prefix;

/// "sent" and "received" are told at most this often for each peer, the latter for UDP and relays apart. Of a flow with a
/// packet each second every one is told; a denser one is silent for a second at most.
const TELL_EVERY: Duration = Duration::from_millis(500);

/// The region that says: no WireGuard message to this peer goes by a relay, not even an answer.
pub const NEVER_BY_RELAY: u32 = u32::MAX;
/// The socket that says: none to this peer goes by UDP, not even an answer. No side socket has this number.
pub const NEVER_BY_UDP: u32 = u32::MAX;

/// Where a peer's packets go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steer {
    /// By UDP, unless `socket` forbids it.
    pub endpoint: Option<SocketAddr>,
    /// By this region's relay; 0 for none, or [`NEVER_BY_RELAY`].
    pub region: u32,
    /// From this side socket to `endpoint`; 0 for the tunnel's own, or [`NEVER_BY_UDP`].
    pub socket: u32,
}

/// By no way, and no way is taken for an answer either.
const NOWHERE: Steer = Steer {
    endpoint: None,
    region: NEVER_BY_RELAY,
    socket: NEVER_BY_UDP,
};

impl Steer {
    /// Whether packets go anywhere.
    pub fn leads_somewhere(&self) -> bool {
        self.udp().is_some() || self.relay().is_some()
    }

    /// The endpoint to which packets go, and the socket by which.
    pub fn udp(&self) -> Option<(SocketAddr, u32)> {
        let endpoint = self.endpoint.filter(|_| self.socket != NEVER_BY_UDP);
        endpoint.map(|endpoint| (endpoint, self.socket))
    }

    /// The region by whose relay packets go.
    pub fn relay(&self) -> Option<u32> {
        (self.region != 0 && self.region != NEVER_BY_RELAY).then_some(self.region)
    }
}

/// One peer.
pub struct Peer {
    /// Its node key.
    pub key: Key,
    /// Sessions; both directions take turns, a batch at a time. Made at first use: 10 KiB that an idle peer goes without.
    tunnel: Mutex<Option<Box<Tunnel>>>,
    /// What a relay has just brought of it.
    pub copies: Mutex<Copies>,
    /// What it may ask back.
    pub flows: Mutex<Flows>,
    /// Its prefixes.
    pub allowed: Mutex<Vec<Prefix>>,
    /// Indices that it was given lately, oldest first.
    pub indices: Mutex<std::collections::VecDeque<u32>>,
    /// Where to send.
    pub steer: ArcSwap<Steer>,
    /// Whether the timers know it.
    pub ticking: AtomicBool,
    /// Taken out of the tables: nothing may be sent or accepted any more.
    pub removed: AtomicBool,
    /// Counters.
    pub stats: Stats,
}

impl Peer {
    /// A peer that is sent nothing yet, and not answered, until somebody says how: its relay or its addresses may be
    /// forbidden. Its key must not be of low order.
    pub fn new(key: Key) -> Peer {
        Peer {
            key,
            tunnel: Mutex::new(None),
            copies: Mutex::default(),
            flows: Mutex::default(),
            allowed: Mutex::default(),
            indices: Mutex::default(),
            steer: ArcSwap::from_pointee(NOWHERE),
            ticking: AtomicBool::new(false),
            removed: AtomicBool::new(false),
            stats: Stats::default(),
        }
    }

    /// Its sessions, for the batch at hand.
    pub fn tunnel(&self, identity: &Identity, now: Instant) -> MappedMutexGuard<'_, Tunnel> {
        MutexGuard::map(self.tunnel.lock(), |tunnel| {
            &mut **tunnel.get_or_insert_with(|| {
                let made = Tunnel::new(identity, self.key, now);
                Box::new(made.expect("a peer's key was checked when it was set"))
            })
        })
    }

    /// Whether anything was ever sent to or received from it.
    pub fn was_used(&self) -> bool {
        self.tunnel.lock().is_some()
    }

    /// Drop its sessions, if there are any.
    pub fn reset(&self) {
        if let Some(tunnel) = &mut *self.tunnel.lock() {
            tunnel.reset();
        }
    }

    /// It restarted: a new handshake, if it had a session or packets wait for one.
    pub fn restart(&self, now: Instant, out: &mut Vec<BytesMut>) {
        if let Some(tunnel) = &mut *self.tunnel.lock() {
            tunnel.restart(now, out);
        }
    }

    /// Whether it was removed.
    pub fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }
}

/// Counters of one peer. Times are milliseconds since 1970, 0 for never.
#[derive(Default)]
pub struct Stats {
    /// Bytes of WireGuard messages sent.
    pub tx_bytes: AtomicU64,
    /// Bytes of WireGuard messages received and authentic.
    pub rx_bytes: AtomicU64,
    /// When the current keypair came into use.
    pub handshake: AtomicU64,
    /// When a message was last sent.
    pub sent: AtomicU64,
    /// When an authentic message was last received.
    pub received: AtomicU64,
    told_sent: Mutex<Option<Instant>>,
    told_received: [Mutex<Option<Instant>>; 2],
}

impl Stats {
    /// Count what was sent; true when it is time to tell.
    pub fn sent(&self, bytes: usize, now: Instant) -> bool {
        self.tx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let told = tell(&self.told_sent, now);
        if told {
            self.sent.store(wall_ms(), Ordering::Relaxed);
        }
        told
    }

    /// Count what was received by that way; true when it is time to tell.
    pub fn received(&self, bytes: usize, origin: Origin, now: Instant) -> bool {
        self.rx_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let relayed = matches!(origin, Origin::Region(_));
        let told = tell(&self.told_received[usize::from(relayed)], now);
        if told {
            self.received.store(wall_ms(), Ordering::Relaxed);
        }
        told
    }
}

fn tell(told: &Mutex<Option<Instant>>, now: Instant) -> bool {
    let mut told = told.lock();
    if told.is_some_and(|then| now.saturating_duration_since(then) < TELL_EVERY) {
        return false;
    }
    *told = Some(now);
    true
}

/// Milliseconds since 1970.
pub fn wall_ms() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_no_relay_may_serve_is_reached_by_udp_alone() {
        let mut steer = Steer {
            endpoint: None,
            region: NEVER_BY_RELAY,
            ..Steer::default()
        };
        assert!(!steer.leads_somewhere());
        assert_eq!(steer.relay(), None);
        steer.endpoint = Some(([192, 0, 2, 1], 1).into());
        assert!(steer.leads_somewhere());
    }

    #[test]
    fn a_peer_that_udp_may_not_reach_is_reached_by_relays_alone() {
        let mut steer = Steer {
            endpoint: Some(([192, 0, 2, 1], 1).into()),
            region: 0,
            socket: NEVER_BY_UDP,
        };
        assert!(!steer.leads_somewhere());
        assert_eq!(steer.udp(), None);
        steer.region = 3;
        assert!(steer.leads_somewhere());
    }

    #[test]
    fn a_new_peer_is_answered_by_no_way_before_it_is_steered() {
        let peer = Peer::new(Key::default());
        assert_eq!(**peer.steer.load(), NOWHERE);
        assert!(!peer.steer.load().leads_somewhere());
    }

    #[test]
    fn it_is_told_at_once_and_then_each_half_second_and_relays_apart() {
        let stats = Stats::default();
        let start = Instant::now();
        assert!(stats.sent(1, start));
        assert!(!stats.sent(1, start + Duration::from_millis(499)));
        assert!(stats.sent(1, start + Duration::from_millis(500)));
        let (udp, relay) = (
            Origin::Endpoint(([192, 0, 2, 1], 1).into()),
            Origin::Region(1),
        );
        assert!(stats.received(1, udp, start));
        assert!(stats.received(1, relay, start));
        assert!(!stats.received(1, udp, start));
        assert_eq!(stats.tx_bytes.load(Ordering::Relaxed), 3);
    }
}
