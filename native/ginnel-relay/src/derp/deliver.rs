//! Packets of one read to their receivers: one delivery for each, here or by a relay of the region.

use std::ops::Range;
use std::time::Instant;

use ginnel_derp::{Frame, Key};

use super::Scratch;
use super::client::{Client, Role};
use super::notes::{NOT_HERE, tell};
use super::reader::Reader;
use super::registry::Place;
use crate::config::MAX_CORRESPONDENTS;
use crate::counters::Packets;
use crate::tls::Wire;

/// Receivers that are told apart at a time; frames to more of them go in several deliveries.
const MAX_RUNS: usize = 64;

/// RecvPacket frames from one key to one key, side by side.
struct Run {
    to: Key,
    from: Key,
    span: Range<usize>,
    packets: Packets,
    done: bool,
}

#[derive(Default)]
pub(super) struct Runs(Vec<Run>);

impl Runs {
    /// False if there are too many: they have to be dispatched first.
    pub(super) fn add(&mut self, to: Key, from: Key, span: &Range<usize>, disco: bool) -> bool {
        let full = self.0.len() == MAX_RUNS;
        match self.0.last_mut() {
            Some(run) if run.to == to && run.from == from && run.span.end == span.start => {
                run.span.end = span.end;
                run.packets += Packets::one(disco);
            }
            _ if full => return false,
            _ => self.0.push(Run {
                to,
                from,
                span: span.clone(),
                packets: Packets::one(disco),
                done: false,
            }),
        }
        true
    }
}

impl Reader {
    pub(super) fn dispatch(&mut self, runs: &mut Runs, scratch: &mut Scratch) {
        let runs = &mut runs.0;
        for first in 0..runs.len() {
            if runs[first].done {
                continue;
            }
            let to = runs[first].to;
            let (mut packets, mut count) = (Packets::default(), 0);
            for run in runs[first..].iter().filter(|run| run.to == to) {
                packets += run.packets;
                count += 1;
            }
            let reached = if count == 1 {
                let frames = &scratch.plain[runs[first].span.clone()];
                self.deliver(&to, frames, packets, &mut scratch.wire)
            } else {
                scratch.gathered.clear();
                for run in runs[first..].iter_mut().filter(|run| run.to == to) {
                    let frames = &scratch.plain[run.span.clone()];
                    scratch.gathered.extend_from_slice(frames);
                    run.done = true;
                }
                self.deliver(&to, &scratch.gathered, packets, &mut scratch.wire)
            };
            match (reached, self.client.role) {
                (None, _) => {}
                (Some(receiver), Role::Node { .. }) => self.remember(&to, receiver),
                (Some(receiver), Role::Mesh) => {
                    let runs = runs[first..].iter().filter(|run| run.to == to);
                    runs.for_each(|run| self.shared.mesh.remember(&run.from, &to, receiver));
                }
            }
        }
        runs.clear();
    }

    /// Gives the connection here that takes them.
    fn deliver(
        &mut self,
        to: &Key,
        frames: &[u8],
        packets: Packets,
        wire: &mut Wire,
    ) -> Option<u64> {
        let counters = &self.shared.counters;
        counters.packets_in.add(packets.all);
        counters.packets_in_disco.add(packets.disco);
        counters.bytes_in.add(frames.len() as u64);
        let receiver = match self.shared.registry.place(to) {
            Place::Here(receiver) => receiver,
            Place::Parked => {
                counters.dup_client.add(packets);
                return None;
            }
            Place::Elsewhere => {
                self.send_elsewhere(to, frames, packets, wire);
                return None;
            }
        };
        if self.client.role == Role::Mesh {
            counters.mesh_forwarded_in.add(packets.all);
        }
        counters.bytes_out.add(frames.len() as u64);
        receiver.deliver(frames, packets, wire, counters);
        Some(receiver.id)
    }

    /// A packet that another relay forwarded goes no further: whoever it is for has left meanwhile.
    fn send_elsewhere(&mut self, to: &Key, frames: &[u8], packets: Packets, wire: &mut Wire) {
        let counters = &self.shared.counters;
        if self.client.role == Role::Mesh {
            return counters.unknown_dest_on_fwd.add(packets);
        }
        if let Some(link) = self.shared.mesh.forwarder(to) {
            return link.forward(to, frames, packets, counters);
        }
        counters.unknown_dest.add(packets);
        if packets.disco > 0 {
            self.note_not_here(to, wire);
        }
    }

    fn remember(&mut self, to: &Key, receiver: u64) {
        if self.correspondents.get(to) != Some(&receiver)
            && self.correspondents.len() < MAX_CORRESPONDENTS
        {
            self.correspondents.insert(*to, receiver);
        }
    }

    /// Only disco is answered, and seldom: a sender of data learns by its own means, and nobody lists who is here.
    fn note_not_here(&mut self, peer: &Key, wire: &mut Wire) {
        if !self.notes.take(Instant::now()) {
            return;
        }
        let client: &Client = &self.client;
        let reason = NOT_HERE;
        tell(
            client,
            &Frame::PeerGone { peer, reason },
            wire,
            &self.shared,
        );
        self.shared.counters.gone_not_here.one();
    }
}
