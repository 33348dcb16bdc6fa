//! Counters by name; drops and refusals under the reason.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! counters {
    ($($field:ident = $name:literal),* $(,)?) => {
        #[derive(Debug, Default)]
        pub(crate) struct Counters { $(pub(crate) $field: Counter),* }

        impl Counters {
            pub(crate) fn rows(&self) -> Vec<(&'static str, u64)> {
                vec![$(($name, self.$field.get())),*]
            }
        }
    };
}

counters! {
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
    not_member = "derp.not_member",
    not_verified = "derp.not_verified",
    verify_late = "derp.verify_late",
    fast_start = "derp.fast_start",
    websocket = "derp.websocket",
    packets_in = "derp.packets_in",
    packets_out = "derp.packets_out",
    bytes_in = "derp.bytes_in",
    bytes_out = "derp.bytes_out",
    unknown_frame = "derp.unknown_frame",
    bad_stream = "derp.bad_stream",
    refused_frame = "derp.refused_frame",
    write_timeout = "derp.write_timeout",
    duplicate = "derp.duplicate",
    unknown_dest = "derp.drop.unknown_dest",
    gone = "derp.drop.gone_disconnected",
    queue_head = "derp.drop.queue_head",
    queue_head_disco = "derp.drop.queue_head_disco",
    control_full = "derp.drop.control_full",
    stun_answered = "stun.answered",
    stun_ignored = "stun.ignored",
    stun_limited = "stun.limited",
    stun_unsent = "stun.unsent",
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
