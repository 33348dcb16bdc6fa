//! What is on its way to a client, and what waits for its socket.

use std::io;
use std::time::Instant;

use ginnel_derp::{HEADER_SIZE, is_disco};
use tokio::net::tcp::OwnedWriteHalf;

use super::queue::Queue;
use crate::counters::{Counters, Packets};
use crate::tls::Tls;

/// A RecvPacket frame up to its packet.
const PACKET_AT: usize = HEADER_SIZE + 32;

/// Lock order: a thread holds at most one client's lock, and looks into the registry meanwhile only for the newcomer
/// whose lock it is.
pub(super) struct Outward {
    pub(super) tls: Tls,
    /// Records that the socket did not take, from `sent` on.
    pub(super) unsent: Vec<u8>,
    pub(super) sent: usize,
    /// When the socket last took something, if it is full.
    pub(super) stuck_since: Option<Instant>,
    pub(super) control: Vec<u8>,
    pub(super) disco: Queue,
    pub(super) data: Queue,
    pub(super) dead: bool,
}

impl Outward {
    pub(super) fn new(tls: Tls) -> Self {
        Self {
            tls,
            unsent: Vec::new(),
            sent: 0,
            stuck_since: None,
            control: Vec::new(),
            disco: Queue::default(),
            data: Queue::default(),
            dead: false,
        }
    }

    /// What waits.
    pub(super) fn waiting(&self) -> Packets {
        let disco = self.disco.len();
        Packets {
            all: disco + self.data.len(),
            disco,
        }
    }

    /// The socket is full: keep the frames, as many as may wait.
    pub(super) fn hold_back(&mut self, frames: &[u8], counters: &Counters) {
        let mut rest = frames;
        while let Some(head) = rest.first_chunk::<HEADER_SIZE>() {
            let size =
                HEADER_SIZE + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
            let Some((frame, behind)) = rest.split_at_checked(size) else {
                return;
            };
            match frame.get(PACKET_AT..).is_some_and(is_disco) {
                true => counters.queue_head.disco.add(self.disco.push(frame)),
                false => counters.queue_head.other.add(self.data.push(frame)),
            }
            rest = behind;
        }
    }
}

pub(super) fn write_some(socket: &OwnedWriteHalf, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match socket.try_write(&bytes[sent..]) {
            Ok(size) => sent += size,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
            Err(e) => return Err(e),
        }
    }
    Ok(sent)
}
