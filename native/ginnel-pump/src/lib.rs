//! Moves packets: TUN to WireGuard to UDP and relays, and back, by the tables that Python writes.
//!
//! ```text
//!   TUN --read, cut--> route --> filter, flows --> seal a run --> UDP (GSO) and/or a relay's queue   thread "out"
//!   UDP (GRO) --> disco, STUN: asides          thread "in"
//!            \--> WireGuard: a run of one keypair --> open --> source, filter --> glue --> TUN
//!   relay reader --> the same way in           one thread for each region, another one writes
//!   timers: only of peers that have something pending
//! ```
//!
//! Plain threads, no runtime. No Python runs for a packet: what needs a decision waits in a bounded queue of asides.

mod arena;
mod asides;
mod coalesce;
mod copies;
mod counters;
mod filter;
#[cfg(test)]
mod filter_tests;
mod flows;
mod inbound;
mod outbound;
mod peer;
mod prefix;
mod pump;
mod receive;
mod relay;
mod send;
mod shared;
mod side;
mod threads;
mod timers;
mod tsmp;
mod tun;
mod udp;

pub use asides::{Aside, Origin};
pub use pump::{PeerCounters, Pump, PumpError, RuleText};

/// A node, relay or disco key.
pub type Key = [u8; 32];
