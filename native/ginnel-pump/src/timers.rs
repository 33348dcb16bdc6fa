//! The thread that runs WireGuard's timers, for those peers alone that have keys or a handshake under way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ginnel_tunnel::Life;
use parking_lot::{Condvar, Mutex};

use crate::peer::Peer;
use crate::send::Sender;
use crate::shared::Shared;

/// How often the timers of an active peer are looked at. WireGuard's shortest is 5 s.
const TICK: Duration = Duration::from_millis(250);

/// Peers whose timers run.
#[derive(Default)]
pub struct Timers {
    peers: Mutex<Vec<Arc<Peer>>>,
    changed: Condvar,
    relay_up: AtomicBool,
}

impl Timers {
    /// Run this peer's timers from now on, until it falls asleep.
    pub fn watch(&self, peer: &Arc<Peer>) {
        if peer.ticking.load(Ordering::Relaxed) || peer.ticking.swap(true, Ordering::AcqRel) {
            return;
        }
        self.peers.lock().push(Arc::clone(peer));
        self.changed.notify_all();
    }

    /// A relay is up now: handshakes whose answers may have been lost for want of it are begun again at the next tick.
    pub fn relay_came_up(&self) {
        self.relay_up.store(true, Ordering::Release);
    }

    /// Wake the thread, so that it sees that it must end.
    pub fn wake(&self) {
        let _peers = self.peers.lock();
        self.changed.notify_all();
    }

    /// Wait for the next tick, without end while nobody needs one. Returns those to tick.
    fn next(&self, shared: &Shared) -> Vec<Arc<Peer>> {
        let mut peers = self.peers.lock();
        while peers.is_empty() && !shared.is_stopping() {
            self.changed.wait(&mut peers);
        }
        let due = Instant::now() + TICK;
        while !shared.is_stopping() && !self.changed.wait_until(&mut peers, due).timed_out() {}
        peers.clone()
    }

    fn forget(&self, asleep: &[Arc<Peer>]) {
        if asleep.is_empty() {
            return;
        }
        let gone = |peer: &Arc<Peer>| asleep.iter().any(|other| Arc::ptr_eq(peer, other));
        let mut peers = self.peers.lock();
        peers.retain(|peer| !gone(peer));
        for peer in asleep {
            peer.ticking.store(false, Ordering::Release);
        }
    }
}

/// One turn of the thread.
pub fn turn(shared: &Shared, sender: &mut Sender) {
    let peers = shared.timers.next(shared);
    if shared.is_stopping() {
        return;
    }
    let now = Instant::now();
    let ask_again = shared.timers.relay_up.swap(false, Ordering::AcqRel);
    let mut asleep = Vec::new();
    let mut messages = Vec::new();
    for peer in &peers {
        let life = match peer.is_removed() {
            true => Life::Asleep,
            false => {
                let mut tunnel = peer.tunnel(&shared.identity, now);
                let life = tunnel.tick(now, &mut messages);
                if ask_again && life == Life::Active {
                    tunnel.retry(now, &mut messages);
                }
                life
            }
        };
        shared.transmit(peer, &mut messages, None, now, sender);
        if life == Life::Asleep {
            asleep.push(Arc::clone(peer));
        }
    }
    sender.flush(shared);
    shared.timers.forget(&asleep);
}
