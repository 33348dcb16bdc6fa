//! What a client sends: one read, many frames, one delivery for each receiver.

use std::io;
use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ginnel_derp::{DerpError, Frame, HEADER_SIZE, Key, is_disco, kind, server_rule};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::Scratch;
use super::client::Client;
use super::registry::Correspondents;
use crate::config::{MAX_CORRESPONDENTS, READ_SIZE};
use crate::relay::Shared;
use crate::tls::{Wire, left_over};

/// Receivers that are told apart at a time; frames to more of them go in several deliveries.
const MAX_RUNS: usize = 64;
/// What a client that always has more to send may take of its shard before the others are looked after. A turn that
/// goes to many receivers has a system call for each, and can take milliseconds.
const SLICE: Duration = Duration::from_micros(500);
const NOT_HERE: u8 = 1;
const NOTES_BURST: f64 = 3.0;

/// Why a connection ends.
#[derive(Debug)]
pub(crate) enum End {
    Closed,
    Stream,
    Rules(#[allow(dead_code, reason = "for debuggers")] DerpError),
    /// A frame that only relays of the same region may send.
    Refused,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> Self {
        Self::Stream
    }
}

impl From<DerpError> for End {
    fn from(error: DerpError) -> Self {
        Self::Rules(error)
    }
}

/// SendPacket frames to one key, side by side.
struct Run {
    to: Key,
    span: Range<usize>,
    packets: u64,
    disco: bool,
    done: bool,
}

pub(crate) struct Reader {
    shared: Arc<Shared>,
    client: Arc<Client>,
    socket: OwnedReadHalf,
    /// TLS bytes that are not yet a whole record.
    incoming: Vec<u8>,
    /// The begun frame.
    partial: Vec<u8>,
    /// Bytes of a frame of unknown type that are still to pass.
    passing: usize,
    /// They learn when this client leaves.
    pub(crate) correspondents: Correspondents,
    notes: f64,
    notes_at: Instant,
    /// Time of the turns since the shard last had a chance to serve others.
    worked: Duration,
}

impl Reader {
    pub(crate) fn new(
        shared: Arc<Shared>,
        client: Arc<Client>,
        socket: OwnedReadHalf,
        incoming: Vec<u8>,
    ) -> Self {
        Self {
            shared,
            client,
            socket,
            incoming,
            partial: Vec::new(),
            passing: 0,
            correspondents: Correspondents::new(),
            notes: NOTES_BURST,
            notes_at: Instant::now(),
            worked: Duration::ZERO,
        }
    }

    /// True when it is the turn of the shard's other connections; asking starts a new slice.
    pub(crate) fn slice_is_over(&mut self) -> bool {
        let over = self.worked >= SLICE;
        if over {
            self.worked = Duration::ZERO;
        }
        over
    }

    /// Frames that came in one flight with the login.
    pub(crate) fn begin(&mut self, early: &[u8], scratch: &mut Scratch) -> Result<(), End> {
        scratch.plain.clear();
        scratch.plain.extend_from_slice(early);
        self.take_frames(scratch)
    }

    /// One read and all that follows from it; gives how many bytes came.
    pub(crate) fn poll_turn(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Poll<Result<usize, End>> {
        let begun = Instant::now();
        let turn = self.poll_read(cx, scratch);
        match turn.is_ready() {
            true => self.worked += begun.elapsed(),
            false => self.worked = Duration::ZERO,
        }
        turn
    }

    fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        scratch: &mut Scratch,
    ) -> Poll<Result<usize, End>> {
        let kept = self.incoming.len();
        scratch.read[..kept].copy_from_slice(&self.incoming);
        let mut room = ReadBuf::new(&mut scratch.read[kept..kept + READ_SIZE]);
        ready!(Pin::new(&mut self.socket).poll_read(cx, &mut room))?;
        let size = room.filled().len();
        if size == 0 {
            return Poll::Ready(Err(End::Closed));
        }
        let bytes = &mut scratch.read[..kept + size];
        scratch.plain.clear();
        scratch.plain.extend_from_slice(&self.partial);
        let progress = self
            .client
            .receive(bytes, &mut scratch.plain, &mut scratch.wire)?;
        self.incoming = left_over(&bytes[progress.used..])?;
        self.client
            .bytes_in
            .fetch_add(size as u64, Ordering::Relaxed);
        self.take_frames(scratch)?;
        Poll::Ready(if progress.closed {
            Err(End::Closed)
        } else {
            Ok(size)
        })
    }

    fn take_frames(&mut self, scratch: &mut Scratch) -> Result<(), End> {
        if self.client.duplicate.load(Ordering::Relaxed) && !scratch.plain.is_empty() {
            self.shared.registry.activate(&self.client);
        }
        let mut at = self.passing.min(scratch.plain.len());
        self.passing -= at;
        let mut runs: Vec<Run> = Vec::new();
        let mut pongs = Vec::new();
        let mut result = Ok(());
        while let Some(head) = scratch.plain[at..].first_chunk::<HEADER_SIZE>() {
            let (kind, size) = (
                head[0],
                u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize,
            );
            let rule = server_rule(kind);
            if size > rule.limit as usize {
                result = Err(DerpError::TooLong {
                    kind,
                    size,
                    limit: rule.limit as usize,
                }
                .into());
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
            result = match kind {
                kind::SEND_PACKET => self.add_to_runs(&mut runs, at..end, scratch),
                _ => control(kind, &scratch.plain[at + HEADER_SIZE..end], &mut pongs),
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
    fn add_to_runs(
        &mut self,
        runs: &mut Vec<Run>,
        span: Range<usize>,
        scratch: &mut Scratch,
    ) -> Result<(), End> {
        let frame = &mut scratch.plain[span.clone()];
        let size = frame.len() - HEADER_SIZE;
        let Some((key, packet)) = frame[HEADER_SIZE..].split_first_chunk_mut::<32>() else {
            return Err(DerpError::BadLength {
                kind: kind::SEND_PACKET,
                size,
            }
            .into());
        };
        let to = std::mem::replace(key, self.client.key);
        let disco = is_disco(packet);
        frame[0] = kind::RECV_PACKET;
        match runs.last_mut() {
            Some(run) if run.to == to && run.span.end == span.start => {
                run.span.end = span.end;
                run.packets += 1;
                run.disco |= disco;
            }
            _ => {
                if runs.len() == MAX_RUNS {
                    self.dispatch(runs, scratch);
                }
                runs.push(Run {
                    to,
                    span,
                    packets: 1,
                    disco,
                    done: false,
                });
            }
        }
        Ok(())
    }

    fn dispatch(&mut self, runs: &mut Vec<Run>, scratch: &mut Scratch) {
        for first in 0..runs.len() {
            if runs[first].done {
                continue;
            }
            let to = runs[first].to;
            let (mut packets, mut disco, mut count) = (0, false, 0);
            for run in runs[first..].iter().filter(|run| run.to == to) {
                (packets, disco, count) = (packets + run.packets, disco | run.disco, count + 1);
            }
            if count == 1 {
                let frames = &scratch.plain[runs[first].span.clone()];
                self.deliver(&to, frames, packets, disco, &mut scratch.wire);
                continue;
            }
            scratch.gathered.clear();
            for run in runs[first..].iter_mut().filter(|run| run.to == to) {
                scratch
                    .gathered
                    .extend_from_slice(&scratch.plain[run.span.clone()]);
                run.done = true;
            }
            self.deliver(&to, &scratch.gathered, packets, disco, &mut scratch.wire);
        }
        runs.clear();
    }

    fn deliver(&mut self, to: &Key, frames: &[u8], packets: u64, disco: bool, wire: &mut Wire) {
        let counters = &self.shared.counters;
        counters.packets_in.add(packets);
        counters.bytes_in.add(frames.len() as u64);
        let Some(receiver) = self.shared.registry.receiver(to) else {
            counters.unknown_dest.add(packets);
            if disco {
                self.note_not_here(to, wire);
            }
            return;
        };
        counters.bytes_out.add(frames.len() as u64);
        receiver.deliver(frames, packets, wire, counters);
        if self.correspondents.get(to) != Some(&receiver.id)
            && self.correspondents.len() < MAX_CORRESPONDENTS
        {
            self.correspondents.insert(*to, receiver.id);
        }
    }

    /// Only disco is answered, and seldom: a sender of data learns by its own means, and nobody lists who is here.
    fn note_not_here(&mut self, peer: &Key, wire: &mut Wire) {
        let now = Instant::now();
        let earned = now.duration_since(self.notes_at).as_secs_f64();
        self.notes = (self.notes + earned).min(NOTES_BURST);
        self.notes_at = now;
        if self.notes >= 1.0 {
            self.notes -= 1.0;
            tell(
                &self.client,
                &Frame::PeerGone {
                    peer,
                    reason: NOT_HERE,
                },
                wire,
                &self.shared,
            );
        }
    }
}

fn control(kind: u8, body: &[u8], pongs: &mut Vec<u8>) -> Result<(), End> {
    match Frame::decode(kind, body)? {
        Frame::Ping(echo) => Frame::Pong(echo).encode(pongs)?,
        Frame::NotePreferred(_) | Frame::Pong(_) => {}
        _ => return Err(End::Refused),
    }
    Ok(())
}

/// Send a small frame that is no packet.
pub(crate) fn tell(client: &Client, frame: &Frame<'_>, wire: &mut Wire, shared: &Shared) {
    let mut bytes = Vec::with_capacity(HEADER_SIZE + 33);
    if frame.encode(&mut bytes).is_ok() {
        client.tell(&bytes, wire, &shared.counters);
    }
}
