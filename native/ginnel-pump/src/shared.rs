//! What the threads share: tables, sockets, queues, counters.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::BytesMut;
use ginnel_derp::Secret;
use ginnel_tunnel::Identity;
use ginnel_wire::wireguard::{self, Message};
use parking_lot::RwLock;

use crate::Key;
use crate::asides::{Aside, Asides, Origin};
use crate::counters::{Count, Counters};
use crate::filter::Filter;
use crate::peer::{NEVER_BY_RELAY, NEVER_BY_UDP, Peer, Steer};
use crate::prefix::Routes;
use crate::relay::Relays;
use crate::send::Sender;
use crate::side::SideSockets;
use crate::timers::Timers;
use crate::tun::Tun;
use crate::udp::Sockets;

/// Indices that one peer can have in use: eight sessions, two handshakes, and some that were just given up.
const INDICES_MAX: usize = 16;

/// Peers by key and by address.
#[derive(Default)]
pub struct Table {
    /// By node key.
    pub by_key: HashMap<Key, Arc<Peer>>,
    /// By the prefixes that they may use.
    pub routes: Routes<Arc<Peer>>,
}

/// The state of one pump.
pub struct Shared {
    /// Our key and the handshake gate.
    pub identity: Identity,
    /// Peers.
    pub table: RwLock<Table>,
    /// Peers by the session index that they were given.
    pub indices: RwLock<HashMap<u32, Arc<Peer>>>,
    /// Who may come in.
    pub filter: ArcSwap<Filter>,
    /// The UDP sockets, once bound.
    pub sockets: ArcSwapOption<Sockets>,
    /// Sockets beside them.
    pub sides: SideSockets,
    /// The device, once open.
    pub tun: ArcSwapOption<Tun>,
    /// For Python.
    pub asides: Asides,
    /// Counts.
    pub counters: Counters,
    /// Peers whose timers run.
    pub timers: Timers,
    /// Relay connections.
    pub relays: Relays,
    /// Our node key, for logging in to relays.
    pub secret: Secret,
    /// SO_MARK of every socket, 0 for none.
    pub mark: u32,
    /// Set once, when the threads must end.
    pub stopping: AtomicBool,
}

impl Shared {
    /// Whether the threads must end.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Tell Python, or count that its queue is full.
    pub fn aside(&self, aside: Aside) {
        if !self.asides.push(aside) {
            self.counters.one(Count::AsideDropped);
        }
    }

    /// Send WireGuard messages of one peer by its paths. Where none is set, an answer goes back to where the question
    /// came from unless that way is forbidden, and anything else is dropped. `messages` is emptied.
    pub fn transmit(
        &self,
        peer: &Arc<Peer>,
        messages: &mut Vec<BytesMut>,
        answer_to: Option<Origin>,
        now: Instant,
        sender: &mut Sender,
    ) {
        if messages.is_empty() {
            return;
        }
        if peer.is_removed() {
            return messages.clear();
        }
        let bytes = messages.iter().map(BytesMut::len).sum();
        if peer.stats.sent(bytes, now) {
            self.aside(Aside::Sent(peer.key));
        }
        self.timers.watch(peer);
        let steer = way(**peer.steer.load(), answer_to);
        for message in &*messages {
            self.note_index(peer, message);
        }
        let relay = steer.relay();
        if let Some(region) = relay {
            self.relays.send(self, region, &peer.key, messages);
        }
        match steer.udp() {
            Some((endpoint, 0)) => sender.extend(endpoint, messages.drain(..)),
            Some((endpoint, socket)) => sender.extend_side(socket, endpoint, messages.drain(..)),
            None if relay.is_none() => self.counters.many(Count::SteerNone, messages.len()),
            None => {}
        }
        messages.clear();
    }

    /// Send messages by the direct way alone, if there is one. No traffic of the user: nobody is told. `messages` is
    /// emptied.
    pub fn transmit_directly(
        &self,
        peer: &Arc<Peer>,
        messages: &mut Vec<BytesMut>,
        sender: &mut Sender,
    ) {
        let steer = **peer.steer.load();
        let Some(endpoint) = steer.endpoint.filter(|_| !peer.is_removed()) else {
            return messages.clear();
        };
        self.timers.watch(peer);
        for message in &*messages {
            self.note_index(peer, message);
        }
        match steer.socket {
            0 => sender.extend(endpoint, messages.drain(..)),
            side => sender.extend_side(side, endpoint, messages.drain(..)),
        }
    }

    /// Learn which index a handshake message gives to this peer.
    fn note_index(&self, peer: &Arc<Peer>, message: &[u8]) {
        let (Some(Message::Initiation { sender }) | Some(Message::Response { sender, .. })) =
            wireguard::message(message)
        else {
            return;
        };
        let mut own = peer.indices.lock();
        let mut indices = self.indices.write();
        indices.insert(sender, Arc::clone(peer));
        own.push_back(sender);
        if own.len() > INDICES_MAX
            && let Some(oldest) = own.pop_front()
        {
            remove_own(&mut indices, oldest, peer);
        }
    }

    /// Forget all indices of a peer that was removed.
    pub fn forget_indices(&self, peer: &Arc<Peer>) {
        let mut own = peer.indices.lock();
        let mut indices = self.indices.write();
        for index in own.drain(..) {
            remove_own(&mut indices, index, peer);
        }
    }

    /// The peer whose session has this index.
    pub fn by_index(&self, index: u32) -> Option<Arc<Peer>> {
        self.indices.read().get(&index).cloned()
    }

    /// The peer that has this key.
    pub fn by_key(&self, key: &Key) -> Option<Arc<Peer>> {
        self.table.read().by_key.get(key).cloned()
    }

    /// An address for the cookie of a peer behind a relay: it stays the same wherever the peer moves.
    pub fn cookie_address(key: &Key) -> SocketAddr {
        let mut octets = [0; 16];
        octets[..2].copy_from_slice(&[0xfd, 0]);
        octets[2..10].copy_from_slice(&key[..8]);
        (octets, 12345).into()
    }
}

fn remove_own(indices: &mut HashMap<u32, Arc<Peer>>, index: u32, peer: &Arc<Peer>) {
    if indices
        .get(&index)
        .is_some_and(|owner| Arc::ptr_eq(owner, peer))
    {
        indices.remove(&index);
    }
}

fn way(steer: Steer, answer_to: Option<Origin>) -> Steer {
    let Some(origin) = answer_to.filter(|_| !steer.leads_somewhere()) else {
        return steer;
    };
    let back = |endpoint, socket| Steer {
        endpoint: Some(endpoint),
        region: 0,
        socket,
    };
    match origin {
        Origin::Endpoint(_) | Origin::Side(..) if steer.socket == NEVER_BY_UDP => steer,
        Origin::Endpoint(endpoint) => back(endpoint, 0),
        Origin::Side(endpoint, socket) => back(endpoint, socket),
        Origin::Region(_) if steer.region == NEVER_BY_RELAY => steer,
        Origin::Region(region) => Steer {
            region,
            ..Steer::default()
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_back_by_the_relay_unless_that_is_forbidden() {
        let by_relay = Some(Origin::Region(3));
        assert_eq!(way(Steer::default(), by_relay).relay(), Some(3));
        let forbidden = Steer {
            region: NEVER_BY_RELAY,
            ..Steer::default()
        };
        assert_eq!(way(forbidden, by_relay).relay(), None);
        let endpoint = ([192, 0, 2, 1], 1).into();
        let back = way(forbidden, Some(Origin::Endpoint(endpoint)));
        assert_eq!(back.endpoint, Some(endpoint));
    }

    #[test]
    fn an_answer_goes_back_by_udp_unless_that_is_forbidden() {
        let forbidden = Steer {
            socket: NEVER_BY_UDP,
            ..Steer::default()
        };
        let endpoint = ([192, 0, 2, 1], 1).into();
        for origin in [Origin::Endpoint(endpoint), Origin::Side(endpoint, 7)] {
            assert_eq!(way(forbidden, Some(origin)), forbidden);
            assert!(way(Steer::default(), Some(origin)).udp().is_some());
        }
        let back = way(forbidden, Some(Origin::Region(3)));
        assert_eq!(back.relay(), Some(3));
    }

    #[test]
    fn an_answer_goes_back_by_the_side_socket_that_was_asked() {
        let endpoint = ([192, 0, 2, 1], 1).into();
        let back = way(Steer::default(), Some(Origin::Side(endpoint, 7)));
        assert_eq!((back.endpoint, back.socket), (Some(endpoint), 7));
        let steered = Steer {
            region: 3,
            ..Steer::default()
        };
        assert_eq!(way(steered, Some(Origin::Side(endpoint, 7))), steered);
    }
}
