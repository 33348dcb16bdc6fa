//! A relay of the region that watches who is connected here. What it has not been told yet is a set of keys, looked up
//! when their turn comes: so a watcher that is slow costs no more than a key for each client, and is never told what
//! is no longer so.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use ginnel_derp::{Frame, Key};
use parking_lot::Mutex;

use super::Scratch;
use super::client::Client;
use super::notes::DISCONNECTED;
use crate::relay::Shared;

/// Keys told in one turn: about 28 KiB of frames.
const TURN: usize = 512;

pub(crate) struct Watch {
    client: Arc<Client>,
    /// Keys to tell of that may wait.
    limit: usize,
    changed: Mutex<Changed>,
}

#[derive(Default)]
struct Changed {
    order: VecDeque<Key>,
    keys: HashSet<Key>,
    overflowed: bool,
}

impl Watch {
    pub(crate) fn new(client: Arc<Client>, limit: usize) -> Self {
        Self {
            client,
            limit,
            changed: Mutex::default(),
        }
    }

    /// Something changed about this key. Too many that wait end the connection: the next one begins anew.
    pub(crate) fn mark(&self, key: &Key) {
        let mut changed = self.changed.lock();
        if changed.overflowed || !changed.keys.insert(*key) {
            return;
        }
        changed.order.push_back(*key);
        if changed.order.len() > self.limit {
            *changed = Changed {
                overflowed: true,
                ..Changed::default()
            };
            self.client.close();
        } else if changed.order.len() == 1 {
            self.client.changed.notify_one();
        }
    }

    pub(crate) fn overflowed(&self) -> bool {
        self.changed.lock().overflowed
    }

    /// Tell of some keys, if the socket takes it; true if there are more to tell of at once.
    pub(crate) fn tell(&self, shared: &Shared, scratch: &mut Scratch) -> bool {
        if self.client.stuck_since().is_some() {
            return false;
        }
        let keys = self.take();
        scratch.plain.clear();
        for key in &keys {
            let presence = shared.registry.presence(key);
            let frame = match presence {
                Some((address, flags)) => Frame::PeerPresent {
                    peer: key,
                    address: Some(address),
                    flags,
                },
                None => Frame::PeerGone {
                    peer: key,
                    reason: DISCONNECTED,
                },
            };
            // Neither kind of frame can be too long.
            let _ = frame.encode(&mut scratch.plain);
        }
        if keys.is_empty() || self.client.tell_at_once(&scratch.plain, &mut scratch.wire) {
            return keys.len() == TURN;
        }
        keys.iter().for_each(|key| self.mark(key));
        false
    }

    fn take(&self) -> Vec<Key> {
        let mut changed = self.changed.lock();
        let count = changed.order.len().min(TURN);
        let keys: Vec<Key> = changed.order.drain(..count).collect();
        for key in &keys {
            changed.keys.remove(key);
        }
        keys
    }
}
