//! Counters by name; drops and refusals under the reason. Those of packets are kept for disco and for everything else
//! apart, as the loss of disco costs a path and the loss of data a retransmission (tailscale: derp/derpserver).

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    (
        events { $($event:ident = $event_name:literal),* $(,)? }
        packets { $($kinds:ident = $kinds_name:literal),* $(,)? }
        now { $($gauge:ident = $gauge_name:literal),* $(,)? }
    ) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $(pub(crate) $event: Counter,)*
            $(pub(crate) $kinds: Kinds,)*
            $(pub(crate) $gauge: Gauge,)*
        }

        impl Counters {
            pub(crate) fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![
                    $(($event_name, self.$event.get()),)*
                    $(($kinds_name, self.$kinds.other.get()),)*
                    $((concat!($kinds_name, "_disco"), self.$kinds.disco.get()),)*
                    $(($gauge_name, self.$gauge.get()),)*
                ]
            }
        }
    };
}

counters! {
    events {
        accepted = "door.accepted",
        accept_failed = "door.accept_failed",
        over_limit = "door.over_limit",
        handshake_failed = "door.handshake_failed",
        handshake_late = "door.handshake_late",
        bad_request = "door.bad_request",
        ambiguous_request = "door.ambiguous_request",
        acme_proof = "door.acme_proof",
        answered = "door.answered",
        spliced = "door.spliced",
        splice_failed = "door.splice_failed",
        login = "derp.login",
        login_failed = "derp.login_failed",
        login_draining = "derp.login_draining",
        not_member = "derp.not_member",
        not_verified = "derp.not_verified",
        verify_late = "derp.verify_late",
        fast_start = "derp.fast_start",
        websocket = "derp.websocket",
        packets_in = "derp.packets_in",
        packets_in_disco = "derp.packets_in_disco",
        packets_out = "derp.packets_out",
        bytes_in = "derp.bytes_in",
        bytes_out = "derp.bytes_out",
        unknown_frame = "derp.unknown_frame",
        bad_stream = "derp.bad_stream",
        refused_frame = "derp.refused_frame",
        write_timeout = "derp.write_timeout",
        duplicate = "derp.duplicate",
        fighting = "derp.fighting",
        gone_disconnected = "derp.peer_gone_disconnected",
        gone_not_here = "derp.peer_gone_not_here",
        home_moves_in = "derp.home_moves_in",
        home_moves_out = "derp.home_moves_out",
        pings = "derp.pings",
        control_full = "derp.drop.control_full",
        mesh_login = "mesh.login",
        mesh_wrong_key = "mesh.wrong_key",
        mesh_closed_peer = "mesh.closed_peer",
        mesh_watch_overflow = "mesh.watch_overflow",
        mesh_forwarded_in = "mesh.packets_in",
        mesh_forwarded_out = "mesh.packets_out",
        mesh_connected = "mesh.connected",
        mesh_failed = "mesh.failed",
        mesh_write_timeout = "mesh.write_timeout",
        mesh_too_many = "mesh.too_many_keys",
        stun_answered = "stun.answered",
        stun_ignored = "stun.ignored",
        stun_limited = "stun.limited",
        stun_unsent = "stun.unsent",
    }
    packets {
        unknown_dest = "derp.drop.unknown_dest",
        unknown_dest_on_fwd = "derp.drop.unknown_dest_on_fwd",
        gone = "derp.drop.gone_disconnected",
        queue_head = "derp.drop.queue_head",
        queue_tail = "derp.drop.queue_tail",
        write_error = "derp.drop.write_error",
        dup_client = "derp.drop.dup_client",
    }
    now {
        clients = "derp.now.clients",
        homes = "derp.now.homes",
        duplicates = "derp.now.duplicate_keys",
        mesh_peers = "mesh.now.peers",
        watchers = "mesh.now.watchers",
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, number: u64) {
        if number > 0 {
            self.0.fetch_add(number, Ordering::Relaxed);
        }
    }

    pub(crate) fn one(&self) {
        self.add(1);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// So many packets, and how many of them are disco.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Packets {
    pub(crate) all: u64,
    pub(crate) disco: u64,
}

impl Packets {
    pub(crate) fn one(disco: bool) -> Self {
        Self {
            all: 1,
            disco: u64::from(disco),
        }
    }
}

impl std::ops::AddAssign for Packets {
    fn add_assign(&mut self, more: Self) {
        self.all += more.all;
        self.disco += more.disco;
    }
}

#[derive(Debug, Default)]
pub(crate) struct Kinds {
    pub(crate) other: Counter,
    pub(crate) disco: Counter,
}

impl Kinds {
    pub(crate) fn add(&self, packets: Packets) {
        self.other.add(packets.all - packets.disco);
        self.disco.add(packets.disco);
    }
}

/// How many there are at the moment.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicU64);

impl Gauge {
    pub(crate) fn up(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn down(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
