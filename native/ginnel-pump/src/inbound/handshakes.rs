//! Handshake messages on their way in: whose they are, what is answered.

use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use ginnel_tunnel::{Admission, Event, Handshake, Refusal, TunnelError};
use ginnel_wire::wireguard::Message;

use super::{Inbound, count_of, is_from, keypair};
use crate::asides::Origin;
use crate::counters::Count;
use crate::peer::Peer;
use crate::shared::Shared;

impl Inbound {
    pub(super) fn take_handshake(
        &mut self,
        shared: &Shared,
        origin: Origin,
        from: Option<&Arc<Peer>>,
        kind: Message,
        message: BytesMut,
        now: Instant,
    ) {
        let receiver = match kind {
            Message::Response { receiver, .. } | Message::Cookie { receiver } => Some(receiver),
            _ => None,
        };
        // An answer to nothing that we asked is dropped before any arithmetic is done for it.
        let asked = match receiver {
            Some(index) => match shared.by_index(index) {
                Some(peer) => Some(peer),
                None => return shared.counters.one(Count::WireguardNoKeypair),
            },
            None => None,
        };
        let source = match (origin, from) {
            (Origin::Endpoint(endpoint) | Origin::Side(endpoint, _), _) => endpoint,
            (Origin::Region(_), Some(peer)) => Shared::cookie_address(&peer.key),
            (Origin::Region(_), None) => return shared.counters.one(Count::RelayStranger),
        };
        let bytes = message.len();
        let handshake = match shared.identity.admit(source, message, now) {
            Admission::Pass(handshake) => handshake,
            Admission::Reply(reply) => return self.send_cookie(shared, origin, from, reply),
            Admission::Refuse(refusal) => return shared.counters.one(count_of_refusal(refusal)),
        };
        let peer = match &handshake {
            Handshake::Initiation(key, _) => shared.by_key(key),
            Handshake::Answer(_) => asked,
        };
        match peer.filter(|peer| is_from(peer, from) && !peer.is_removed()) {
            Some(peer) => self.handshake_of(shared, &peer, origin, handshake, bytes, now),
            None => shared.counters.one(Count::HandshakeStranger),
        }
    }

    fn handshake_of(
        &mut self,
        shared: &Shared,
        peer: &Arc<Peer>,
        origin: Origin,
        handshake: Handshake,
        bytes: usize,
        now: Instant,
    ) {
        let result =
            peer.tunnel(&shared.identity, now)
                .handshake(handshake, now, &mut self.replies);
        match result {
            Ok(event) => {
                self.heard(shared, peer, origin, bytes, now);
                if event == Event::Keypair {
                    keypair(shared, peer);
                }
            }
            Err(error) => shared.counters.one(match error {
                TunnelError::Repeat => Count::HandshakeRepeat,
                other => count_of(other),
            }),
        }
        shared.transmit(peer, &mut self.replies, Some(origin), now, &mut self.sender);
    }

    fn send_cookie(
        &mut self,
        shared: &Shared,
        origin: Origin,
        from: Option<&Arc<Peer>>,
        reply: BytesMut,
    ) {
        shared.counters.one(Count::HandshakeCookie);
        match (origin, from) {
            (Origin::Endpoint(endpoint), _) => self.sender.push(endpoint, reply),
            (Origin::Side(endpoint, socket), _) => {
                self.sender
                    .extend_side(socket, endpoint, std::iter::once(reply));
            }
            (Origin::Region(region), Some(peer)) => {
                shared.relays.send(shared, region, &peer.key, &[reply]);
            }
            (Origin::Region(_), None) => {}
        }
    }
}

fn count_of_refusal(refusal: Refusal) -> Count {
    match refusal {
        Refusal::Malformed => Count::UdpMalformed,
        Refusal::Mac => Count::HandshakeMac,
        Refusal::Key => Count::HandshakeKey,
    }
}
