//! From one connection of a region to another without a gap: the old one carries until the new one is logged in, and is
//! read to its end after that.

use std::collections::HashMap;
use std::io;
use std::net::Shutdown;
use std::sync::{Arc, Weak};

use ginnel_derp::kind;
use parking_lot::Mutex;

use super::{Relay, Relays, Target};
use crate::shared::Shared;

/// What is neither quite there yet nor quite gone.
#[derive(Default)]
pub(super) struct Moves(Mutex<State>);

#[derive(Default)]
struct State {
    coming: HashMap<u32, Arc<Relay>>,
    /// Their threads end when the relay has closed.
    going: Vec<Weak<Relay>>,
}

impl Relays {
    /// Dial a relay of a region that is connected, and use it as soon as it is logged in. If it cannot be reached, all
    /// stays as it is.
    pub fn move_to(&self, shared: &Arc<Shared>, region: u32, target: Target) -> io::Result<()> {
        let connected = |relay: &Arc<Relay>| relay.queue.is_open();
        if !self.open.read().get(&region).is_some_and(connected) {
            return self.open(shared, region, target);
        }
        let relay = Relay::new(region, target);
        self.moves.stop(region);
        self.moves
            .0
            .lock()
            .coming
            .insert(region, Arc::clone(&relay));
        self.start(shared, &relay)
            .inspect_err(|_| self.moves.stop(region))
    }

    /// A connection is logged in, and not yet open to packets: it takes over if that is what it was for.
    pub(super) fn arrived(&self, relay: &Arc<Relay>) {
        let mut open = self.open.write();
        if !self.moves.ended(relay) {
            return;
        }
        if let Some(old) = open.insert(relay.region, Arc::clone(relay)) {
            let packets = old.queue.retire().into_iter();
            for frame in packets.filter(|frame| frame[0] == kind::SEND_PACKET) {
                relay.queue.push_packet(frame);
            }
            self.moves.let_go(&old);
        }
    }
}

impl Moves {
    /// It is not coming any more. False if it was not.
    pub(super) fn ended(&self, relay: &Arc<Relay>) -> bool {
        let mut state = self.0.lock();
        let coming = state.coming.get(&relay.region);
        let was = coming.is_some_and(|other| Arc::ptr_eq(other, relay));
        if was {
            state.coming.remove(&relay.region);
        }
        was
    }

    pub(super) fn stop(&self, region: u32) {
        if let Some(relay) = self.0.lock().coming.remove(&region) {
            relay.close();
        }
    }

    pub(super) fn stop_all(&self) {
        let state = std::mem::take(&mut *self.0.lock());
        let going = state.going.iter().filter_map(Weak::upgrade);
        going
            .chain(state.coming.into_values())
            .for_each(|relay| relay.close());
    }

    /// Write no more; what is on its way from the relay is still read.
    fn let_go(&self, relay: &Arc<Relay>) {
        if let Some(stream) = &*relay.stream.lock() {
            // Its peer may have closed it already.
            let _ = stream.shutdown(Shutdown::Write);
        }
        let mut state = self.0.lock();
        state.going.retain(|other| other.strong_count() > 0);
        state.going.push(Arc::downgrade(relay));
    }
}
