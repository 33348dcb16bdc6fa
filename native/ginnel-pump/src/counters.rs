//! Named counts of drops and events.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counts {
    ($($variant:ident = $name:literal),* $(,)?) => {
        /// One counted thing.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub enum Count { $($variant),* }

        const NAMES: &[&str] = &[$($name),*];
    };
}

counts! {
    AsideDropped = "aside.dropped",
    FilterFragment = "filter.fragment",
    FilterIcmp = "filter.icmp",
    FilterLinkLocal = "filter.link_local",
    FilterMalformed = "filter.malformed",
    FilterMulticast = "filter.multicast",
    FilterNoRule = "filter.no_rule",
    FilterNotLocal = "filter.not_local",
    FilterSource = "filter.source",
    HandshakeCookie = "handshake.cookie",
    HandshakeKey = "handshake.key",
    HandshakeMac = "handshake.mac",
    HandshakeRepeat = "handshake.repeat",
    HandshakeStranger = "handshake.stranger",
    RelayFrame = "relay.frame",
    RelayIn = "relay.in",
    RelayOut = "relay.out",
    RelayOverBudget = "relay.over_budget",
    RelayQueueHead = "relay.queue_head",
    RelayStranger = "relay.stranger",
    RelayUnconnected = "relay.unconnected",
    SteerNone = "steer.none",
    ThreadPanic = "thread.panic",
    TunIn = "tun.in",
    TunNoPeer = "tun.no_peer",
    TunOut = "tun.out",
    TunOwnDisco = "tun.own_disco",
    TunReadError = "tun.read_error",
    TunReads = "tun.reads",
    TunStaged = "tun.staged_dropped",
    TunWriteError = "tun.write_error",
    TunWrites = "tun.writes",
    Tsmp = "tsmp.swallowed",
    TsmpRejectSent = "tsmp.reject_sent",
    UdpGeneve = "udp.geneve",
    UdpGsoOff = "udp.gso_off",
    UdpIn = "udp.in",
    UdpMalformed = "udp.malformed",
    UdpOut = "udp.out",
    UdpReads = "udp.reads",
    UdpShort = "udp.short",
    UdpWriteError = "udp.write_error",
    UdpWrites = "udp.writes",
    WireguardForged = "wireguard.forged",
    WireguardNoKeypair = "wireguard.no_keypair",
    WireguardReplay = "wireguard.replay",
}

/// The counters of one pump.
pub struct Counters([AtomicU64; NAMES.len()]);

impl Counters {
    /// All zero.
    pub fn new() -> Counters {
        Counters(std::array::from_fn(|_| AtomicU64::new(0)))
    }

    /// Count one.
    pub fn one(&self, count: Count) {
        self.many(count, 1);
    }

    /// Count several.
    pub fn many(&self, count: Count, n: usize) {
        self.0[count as usize].fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Every name and its value.
    pub fn read(&self) -> impl Iterator<Item = (&'static str, u64)> {
        NAMES
            .iter()
            .zip(&self.0)
            .map(|(name, value)| (*name, value.load(Ordering::Relaxed)))
    }
}

impl Default for Counters {
    fn default() -> Counters {
        Counters::new()
    }
}
