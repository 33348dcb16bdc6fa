//! One login: its socket's writing end, its TLS, and what waits for it. Any shard may deliver to it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use ginnel_derp::Key;
use parking_lot::Mutex;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::sync::Notify;

use super::outward::{Outward, write_some};
use super::queue::Queue;
use crate::config::CONTROL_SIZE;
use crate::counters::{Counters, Packets};
use crate::tls::{Progress, Tls, Wire};

/// One batch fits, and a few words of TLS itself.
const MAX_UNSENT: usize = 1 << 20;

/// What a login may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// A node; what watchers are told of it (tailscale: derp/derp.go, PeerPresentFlags).
    Node { flags: u8 },
    /// A relay of the same region: it may watch, forward and close.
    Mesh,
}

pub(crate) struct Client {
    pub(crate) id: u64,
    pub(crate) key: Key,
    pub(crate) source: SocketAddr,
    pub(crate) role: Role,
    /// The writing end; the reading end is its task's.
    pub(crate) socket: OwnedWriteHalf,
    /// Its task has to look: the socket got full, or it has to go.
    pub(crate) changed: Notify,
    /// Another connection has the same key.
    pub(crate) duplicate: AtomicBool,
    /// It says that this relay is its home.
    pub(crate) home: AtomicBool,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    closing: AtomicBool,
    outward: Mutex<Outward>,
}

impl Client {
    pub(crate) fn new(
        id: u64,
        key: Key,
        source: SocketAddr,
        role: Role,
        socket: OwnedWriteHalf,
        tls: Tls,
    ) -> Self {
        Self {
            id,
            key,
            source,
            role,
            socket,
            changed: Notify::new(),
            duplicate: AtomicBool::new(false),
            home: AtomicBool::new(false),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            outward: Mutex::new(Outward::new(tls)),
        }
    }

    /// Send the login's answer. `enter` puts the client where others find it, or says that it may not; who finds it
    /// waits until the answer is on its way, so that no packet comes before.
    pub(crate) fn welcome(
        &self,
        answer: &[u8],
        enter: impl FnOnce() -> bool,
        wire: &mut Wire,
    ) -> bool {
        let mut outward = self.outward.lock();
        let entered = enter();
        if entered && self.seal(&mut outward, answer, wire).is_err() {
            self.die(&mut outward);
        }
        entered
    }

    /// Take TLS bytes that came from this client.
    pub(crate) fn receive(
        &self,
        incoming: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Wire,
    ) -> io::Result<Progress> {
        let mut outward = self.outward.lock();
        wire.clear();
        let progress = outward.tls.receive(incoming, plain, wire);
        if !wire.filled().is_empty() {
            self.write(&mut outward, wire)?;
        }
        progress.map_err(io::Error::other)
    }

    /// Send whole RecvPacket frames, `packets` of them, now or when the socket takes them again.
    pub(crate) fn deliver(
        &self,
        frames: &[u8],
        packets: Packets,
        wire: &mut Wire,
        counters: &Counters,
    ) {
        let mut outward = self.outward.lock();
        if outward.dead {
            return counters.gone.add(packets);
        }
        if outward.stuck_since.is_some() {
            return outward.hold_back(frames, counters);
        }
        match self.seal(&mut outward, frames, wire) {
            Ok(()) => counters.packets_out.add(packets.all),
            Err(_) => {
                counters.write_error.add(packets);
                self.die(&mut outward);
            }
        }
    }

    /// Send frames that are not packets.
    pub(crate) fn tell(&self, frames: &[u8], wire: &mut Wire, counters: &Counters) {
        let mut outward = self.outward.lock();
        if outward.stuck_since.is_none() {
            self.seal_or_die(&mut outward, frames, wire);
        } else if outward.control.len() + frames.len() > CONTROL_SIZE {
            counters.control_full.one();
        } else {
            outward.control.extend_from_slice(frames);
        }
    }

    /// The same, if the socket takes them; false if they would have to wait.
    pub(crate) fn tell_at_once(&self, frames: &[u8], wire: &mut Wire) -> bool {
        let mut outward = self.outward.lock();
        let free = outward.stuck_since.is_none();
        if free {
            self.seal_or_die(&mut outward, frames, wire);
        }
        free
    }

    /// The socket takes bytes again: first what was sealed already, then what waited.
    pub(crate) fn go_on(
        &self,
        plain: &mut Vec<u8>,
        wire: &mut Wire,
        counters: &Counters,
    ) -> io::Result<()> {
        let mut outward = self.outward.lock();
        while outward.stuck_since.is_some() {
            if !self.write_unsent(&mut outward)? {
                return Ok(());
            }
            outward.stuck_since = None;
            plain.clear();
            plain.append(&mut outward.control);
            let packets = outward.waiting();
            outward.disco.drain_into(plain);
            outward.data.drain_into(plain);
            if !plain.is_empty() {
                self.seal(&mut outward, plain, wire)
                    .inspect_err(|_| counters.write_error.add(packets))?;
                counters.packets_out.add(packets.all);
            }
        }
        outward.control = Vec::new();
        Ok(())
    }

    /// Since when the socket has taken nothing, if it is full.
    pub(crate) fn stuck_since(&self) -> Option<Instant> {
        self.outward.lock().stuck_since
    }

    /// Ask its task to end it.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        self.changed.notify_one();
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// The task ends: nothing is sent from here on, what waited is dropped.
    pub(crate) fn bury(&self, wire: &mut Wire, counters: &Counters) {
        let mut outward = self.outward.lock();
        counters.gone.add(outward.waiting());
        wire.clear();
        if !outward.dead && outward.stuck_since.is_none() && outward.tls.close(wire).is_ok() {
            // The goodbye is a courtesy: whoever doesn't take it at once learns it from the socket.
            let _ = self.write(&mut outward, wire);
        }
        outward.dead = true;
        (outward.unsent, outward.disco, outward.data) =
            (Vec::new(), Queue::default(), Queue::default());
    }

    fn die(&self, outward: &mut Outward) {
        outward.dead = true;
        self.close();
    }

    fn seal_or_die(&self, outward: &mut Outward, frames: &[u8], wire: &mut Wire) {
        if !outward.dead && self.seal(outward, frames, wire).is_err() {
            self.die(outward);
        }
    }

    fn seal(&self, outward: &mut Outward, frames: &[u8], wire: &mut Wire) -> io::Result<()> {
        wire.clear();
        outward.tls.seal(frames, wire).map_err(io::Error::other)?;
        self.bytes_out
            .fetch_add(frames.len() as u64, Ordering::Relaxed);
        self.write(outward, wire)
    }

    /// Write all of `wire`, or keep the rest and mark the socket full.
    fn write(&self, outward: &mut Outward, wire: &Wire) -> io::Result<()> {
        let bytes = wire.filled();
        let sent = if outward.stuck_since.is_some() {
            0
        } else {
            write_some(&self.socket, bytes)?
        };
        if sent < bytes.len() {
            if outward.unsent.len() > MAX_UNSENT {
                return Err(io::Error::other(
                    "the client makes TLS talk and doesn't listen",
                ));
            }
            outward.unsent.extend_from_slice(&bytes[sent..]);
            if outward.stuck_since.is_none() {
                outward.stuck_since = Some(Instant::now());
                self.changed.notify_one();
            }
        }
        Ok(())
    }

    /// True if nothing is left.
    fn write_unsent(&self, outward: &mut Outward) -> io::Result<bool> {
        let sent = write_some(&self.socket, &outward.unsent[outward.sent..])?;
        outward.sent += sent;
        if outward.sent == outward.unsent.len() {
            (outward.unsent, outward.sent) = (Vec::new(), 0);
            return Ok(true);
        }
        if sent > 0 {
            outward.stuck_since = Some(Instant::now());
        }
        Ok(false)
    }
}
