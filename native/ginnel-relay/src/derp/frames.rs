//! The frames of one read: packets are gathered for their receivers, the rest is answered (tailscale:
//! derp/derpserver/derpserver.go, the handlers).

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use ginnel_derp::{DerpError, Frame, HEADER_SIZE, Key, is_disco, kind, server_rule};

use super::Scratch;
use super::client::Role;
use super::deliver::Runs;
use super::logins::Spoke;
use super::reader::{End, Reader};
use super::watch::Watch;

const KEY: usize = 32;
const FIGHTING: &str = "another machine uses this node's key, so the relay holds back the packets of both: \
                        log one of them out and in again";

impl Reader {
    pub(super) fn take_frames(&mut self, scratch: &mut Scratch) -> Result<(), End> {
        if self.client.duplicate.load(Ordering::Relaxed) && !scratch.plain.is_empty() {
            self.speak(scratch);
        }
        let mut at = self.passing.min(scratch.plain.len());
        self.passing -= at;
        let mut runs = Runs::default();
        let mut pongs = Vec::new();
        let mut result = Ok(());
        while let Some(head) = scratch.plain[at..].first_chunk::<HEADER_SIZE>() {
            let kind = head[0];
            let size = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let rule = server_rule(kind);
            if size > rule.limit as usize {
                let limit = rule.limit as usize;
                result = Err(DerpError::TooLong { kind, size, limit }.into());
                break;
            }
            let end = at + HEADER_SIZE + size;
            if !rule.keep {
                self.shared.counters.unknown_frame.one();
                self.passing = end.saturating_sub(scratch.plain.len());
                at = end.min(scratch.plain.len());
                continue;
            }
            if end > scratch.plain.len() {
                break;
            }
            result = match (kind, self.client.role) {
                (kind::SEND_PACKET, _) => self.take_packet(&mut runs, at..end, scratch),
                (kind::FORWARD_PACKET, Role::Mesh) => {
                    self.take_forwarded(&mut runs, at..end, scratch)
                }
                _ => self.take_other(kind, &scratch.plain[at + HEADER_SIZE..end], &mut pongs),
            };
            if result.is_err() {
                break;
            }
            at = end;
        }
        self.dispatch(&mut runs, scratch);
        // Last, as a pong tells that what stood before the ping is on its way; and together, as a write for each would
        // cost more than the client pays for its pings.
        if !pongs.is_empty() {
            self.client
                .tell(&pongs, &mut scratch.wire, &self.shared.counters);
        }
        self.partial = scratch.plain[at..].to_vec();
        result
    }

    /// SendPacket and RecvPacket differ in the type and in whose key it is: rewritten in place, the frame is ready.
    fn take_packet(
        &mut self,
        runs: &mut Runs,
        span: Range<usize>,
        scratch: &mut Scratch,
    ) -> Result<(), End> {
        let frame = &mut scratch.plain[span.clone()];
        let size = frame.len() - HEADER_SIZE;
        let Some((key, packet)) = frame[HEADER_SIZE..].split_first_chunk_mut::<KEY>() else {
            return Err(bad_length(kind::SEND_PACKET, size));
        };
        let to = std::mem::replace(key, self.client.key);
        let disco = is_disco(packet);
        frame[0] = kind::RECV_PACKET;
        if !runs.add(to, self.client.key, &span, disco) {
            self.dispatch(runs, scratch);
            runs.add(to, self.client.key, &span, disco);
        }
        Ok(())
    }

    /// ForwardPacket has both keys: the source moves to where the destination stood, and a new header before it.
    fn take_forwarded(
        &mut self,
        runs: &mut Runs,
        span: Range<usize>,
        scratch: &mut Scratch,
    ) -> Result<(), End> {
        let frame = &mut scratch.plain[span.clone()];
        let size = frame.len() - HEADER_SIZE;
        let keys = frame[HEADER_SIZE..].split_first_chunk::<KEY>();
        let both = keys.and_then(|(from, rest)| Some((*from, *rest.first_chunk::<KEY>()?)));
        let Some((from, to)): Option<(Key, Key)> = both else {
            return Err(bad_length(kind::FORWARD_PACKET, size));
        };
        let ready = &mut frame[KEY..];
        ready[0] = kind::RECV_PACKET;
        ready[1..HEADER_SIZE].copy_from_slice(&((size - KEY) as u32).to_be_bytes());
        ready[HEADER_SIZE..HEADER_SIZE + KEY].copy_from_slice(&from);
        let disco = is_disco(&ready[HEADER_SIZE + KEY..]);
        let span = span.start + KEY..span.end;
        if !runs.add(to, from, &span, disco) {
            self.dispatch(runs, scratch);
            runs.add(to, from, &span, disco);
        }
        Ok(())
    }

    fn take_other(&mut self, kind: u8, body: &[u8], pongs: &mut Vec<u8>) -> Result<(), End> {
        let mesh = self.client.role == Role::Mesh;
        match Frame::decode(kind, body)? {
            Frame::Ping(echo) => {
                self.shared.counters.pings.one();
                Frame::Pong(echo).encode(pongs)?;
            }
            Frame::NotePreferred(home) => self.note_home(home),
            Frame::Pong(_) => {}
            Frame::WatchConns if mesh => self.watch(),
            Frame::ClosePeer(peer) if mesh => {
                for client in self.shared.registry.same(peer) {
                    self.shared.counters.mesh_closed_peer.one();
                    client.close();
                }
            }
            _ => return Err(End::Refused),
        }
        Ok(())
    }

    fn note_home(&self, home: bool) {
        let counters = &self.shared.counters;
        match (self.client.home.swap(home, Ordering::Relaxed), home) {
            (false, true) => {
                counters.homes.up();
                counters.home_moves_in.one();
            }
            (true, false) => {
                counters.homes.down();
                counters.home_moves_out.one();
            }
            _ => {}
        }
    }

    fn watch(&mut self) {
        if self.watch.is_none() {
            let limit = 2 * self.shared.limits.connections + 1024;
            let watch = Arc::new(Watch::new(self.client.clone(), limit));
            self.shared.registry.watch(&watch);
            self.shared.counters.watchers.up();
            self.watch = Some(watch);
        }
    }

    fn speak(&self, scratch: &mut Scratch) {
        let text = match self.shared.registry.spoke(&self.client) {
            Spoke::Nothing => return,
            Spoke::Parked => {
                self.shared.counters.fighting.one();
                FIGHTING.into()
            }
            Spoke::Released => self.shared.notices.health(),
        };
        for client in self.shared.registry.same(&self.client.key) {
            super::notes::tell(
                &client,
                &Frame::Health(&text),
                &mut scratch.wire,
                &self.shared,
            );
        }
    }
}

fn bad_length(kind: u8, size: usize) -> End {
    DerpError::BadLength { kind, size }.into()
}
