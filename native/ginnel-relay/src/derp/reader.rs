//! What a client sends: one read and all that follows from it. `frames` tells the frames apart, `deliver` sends them on.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use ginnel_derp::DerpError;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::tcp::OwnedReadHalf;

use super::Scratch;
use super::client::Client;
use super::notes::Allowance;
use super::registry::Correspondents;
use super::watch::Watch;
use crate::config::READ_SIZE;
use crate::relay::Shared;
use crate::tls::left_over;

/// What a client that always has more to send may take of its shard before the others are looked after. A turn that
/// goes to many receivers has a system call for each, and can take milliseconds.
const SLICE: Duration = Duration::from_micros(500);

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

pub(crate) struct Reader {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Arc<Client>,
    socket: OwnedReadHalf,
    /// TLS bytes that are not yet a whole record.
    incoming: Vec<u8>,
    /// The begun frame.
    pub(super) partial: Vec<u8>,
    /// Bytes of a frame of unknown type that are still to pass.
    pub(super) passing: usize,
    /// They learn when this client leaves.
    pub(crate) correspondents: Correspondents,
    pub(super) notes: Allowance,
    /// It is a relay of the region and wants to know who comes and goes.
    pub(crate) watch: Option<Arc<Watch>>,
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
            notes: Allowance::new(Instant::now()),
            watch: None,
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
}
