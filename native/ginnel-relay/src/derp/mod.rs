//! DERP: who is connected here, where a packet goes next, who must wait (tailscale: derp/derpserver/derpserver.go).

mod client;
mod deliver;
mod frames;
mod login;
mod logins;
mod notes;
mod outward;
mod pace;
mod queue;
mod reader;
mod registry;
mod serve;
mod watch;

use std::cell::RefCell;

pub(crate) use client::Client;
pub(crate) use login::log_in;
pub(crate) use notes::{tell, tell_gone};
pub(crate) use registry::{Correspondents, Registry};
pub(crate) use serve::serve;

use crate::config::READ_SIZE;
use crate::tls::{MAX_LEFT_OVER, Wire};

/// A shard's buffers: a connection borrows them for one turn, so that a silent one holds none.
pub(crate) struct Scratch {
    /// TLS bytes: what was left over, then one read.
    pub(crate) read: Vec<u8>,
    /// What is inside: the begun frame of last time, then new ones.
    pub(crate) plain: Vec<u8>,
    /// Frames for one receiver that did not stand side by side.
    pub(crate) gathered: Vec<u8>,
    /// Records to be written.
    pub(crate) wire: Wire,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch {
        read: vec![0; MAX_LEFT_OVER + READ_SIZE],
        plain: Vec::new(),
        gathered: Vec::new(),
        wire: Wire::default(),
    });
}

/// `act` runs to its end without waiting, and does not call this again.
pub(crate) fn with_scratch<T>(act: impl FnOnce(&mut Scratch) -> T) -> T {
    SCRATCH.with_borrow_mut(act)
}
