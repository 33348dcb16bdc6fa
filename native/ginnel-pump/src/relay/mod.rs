//! Connections to relays: one for each region, two threads for each connection.
//!
//! ```text
//!   senders --> queue --> writer: frames gathered, TLS, one write      (TLS state is shared, a batch at a time)
//!   relay   --> reader: TLS, frames --> WireGuard: the same way in as from UDP; disco: asides
//! ```
//!
//! A connection that ends is not dialled again here: who is home, and when to try, is Python's to decide.

mod connection;
mod dial;
mod moving;
mod pulse;
mod queue;
mod writing;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ginnel_derp::{Frame, MAX_PACKET_SIZE, kind, packet_header};
use parking_lot::{Mutex, RwLock};

use crate::Key;
use crate::asides::Aside;
use crate::counters::Count;
use crate::shared::Shared;

pub use dial::Target;
pub use ginnel_tls::Verify;
use moving::Moves;
use queue::Queue;

/// Packets kept for a region that is not connected, and how often Python is told of them.
const WAITING_MAX: usize = 32;
const TELL_EVERY: Duration = Duration::from_secs(1);

/// All regions.
#[derive(Default)]
pub struct Relays {
    open: RwLock<HashMap<u32, Arc<Relay>>>,
    /// Of regions that are not connected.
    waiting: Mutex<HashMap<u32, Waiting>>,
    preferred: AtomicU32,
    moves: Moves,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<BytesMut>,
    told: Option<Instant>,
}

/// One connection, from dialling to its end.
pub struct Relay {
    region: u32,
    target: Target,
    queue: Queue,
    stream: Mutex<Option<TcpStream>>,
    /// How often something was read from it.
    heard: AtomicU32,
    /// It ended because nothing came any more.
    silent: AtomicBool,
}

impl Relays {
    /// Dial a region, unless a connection with the same arguments is there.
    pub fn open(&self, shared: &Arc<Shared>, region: u32, target: Target) -> io::Result<()> {
        let mut open = self.open.write();
        if open
            .get(&region)
            .is_some_and(|relay| relay.target == target)
        {
            return Ok(());
        }
        let relay = Relay::new(region, target);
        let waiting = self.waiting.lock().remove(&region).unwrap_or_default();
        for frame in waiting.frames {
            relay.queue.push_packet(frame);
        }
        self.start(shared, &relay)?;
        self.moves.stop(region);
        if let Some(old) = open.insert(region, relay) {
            old.close();
        }
        Ok(())
    }

    fn start(&self, shared: &Arc<Shared>, relay: &Arc<Relay>) -> io::Result<()> {
        let thread = {
            let (shared, relay) = (Arc::clone(shared), Arc::clone(relay));
            Builder::new()
                .name(format!("pump-relay{}", relay.region))
                .spawn(move || connection::run(&shared, &relay))?
        };
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }

    /// Close one connection.
    pub fn close(&self, region: u32) {
        self.moves.stop(region);
        if let Some(relay) = self.open.write().remove(&region) {
            relay.close();
        }
    }

    /// Close all, and wait for their threads.
    pub fn close_all(&self) {
        for (_, relay) in self.open.write().drain() {
            relay.close();
        }
        self.moves.stop_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            // What a panic there was is counted; the thread has nothing more to say.
            let _ = thread.join();
        }
    }

    /// Tell every relay whether it is home.
    pub fn prefer(&self, region: u32) {
        self.preferred.store(region, Ordering::Release);
        for (other, relay) in self.open.read().iter() {
            if relay.queue.is_open() {
                relay.queue.push_control(preferred_frame(*other == region));
            }
        }
    }

    /// Queue WireGuard messages for a peer. A region that is not connected keeps a few, and Python is told.
    pub fn send(&self, shared: &Shared, region: u32, to: &Key, messages: &[BytesMut]) {
        if let Some(relay) = self.open.read().get(&region) {
            let dropped = messages
                .iter()
                .filter(|message| relay.queue.push_packet(frame(to, message)))
                .count();
            shared.counters.many(Count::RelayQueueHead, dropped);
            return;
        }
        self.want(
            shared,
            region,
            messages.iter().map(|message| frame(to, message)),
        );
    }

    /// Queue a disco packet, ahead of all data.
    pub fn send_disco(&self, shared: &Shared, region: u32, to: &Key, packet: &[u8]) {
        if packet.len() > MAX_PACKET_SIZE {
            return shared.counters.one(Count::RelayFrame);
        }
        match self.open.read().get(&region) {
            Some(relay) if relay.queue.push_control(frame(to, packet)) => {}
            Some(_) => shared.counters.one(Count::RelayQueueHead),
            None => self.want(shared, region, std::iter::once(frame(to, packet))),
        }
    }

    fn want(&self, shared: &Shared, region: u32, frames: impl Iterator<Item = BytesMut>) {
        let now = Instant::now();
        let mut waiting = self.waiting.lock();
        let entry = waiting.entry(region).or_default();
        for frame in frames {
            if entry.frames.len() >= WAITING_MAX {
                entry.frames.pop_front();
                shared.counters.one(Count::RelayUnconnected);
            }
            entry.frames.push_back(frame);
        }
        let due = entry.told.is_none_or(|told| now - told >= TELL_EVERY);
        if due {
            entry.told = Some(now);
            shared.aside(Aside::RelayWanted(region));
        }
    }

    fn is_preferred(&self, region: u32) -> bool {
        self.preferred.load(Ordering::Acquire) == region
    }

    /// Its thread has ended. None if it was closed or replaced by our own side.
    fn ended(&self, relay: &Arc<Relay>) -> Option<Ended> {
        if self.moves.ended(relay) {
            return Some(Ended::Coming);
        }
        let mut open = self.open.write();
        let current = open
            .get(&relay.region)
            .is_some_and(|other| Arc::ptr_eq(other, relay));
        if current {
            open.remove(&relay.region);
        }
        current.then_some(Ended::InUse)
    }
}

/// What a connection was that ended by itself.
enum Ended {
    InUse,
    /// It never took over.
    Coming,
}

impl Relay {
    fn new(region: u32, target: Target) -> Arc<Self> {
        Arc::new(Self {
            region,
            target,
            queue: Queue::default(),
            stream: Mutex::new(None),
            heard: AtomicU32::new(0),
            silent: AtomicBool::new(false),
        })
    }

    fn close(&self) {
        self.queue.close();
        if let Some(stream) = &*self.stream.lock() {
            // Its peer may have closed it already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn frame(to: &Key, packet: &[u8]) -> BytesMut {
    let header = packet_header(kind::SEND_PACKET, to, packet.len());
    let mut frame = BytesMut::with_capacity(header.len() + packet.len());
    frame.extend_from_slice(&header);
    frame.extend_from_slice(packet);
    frame
}

fn preferred_frame(home: bool) -> BytesMut {
    control_frame(&Frame::NotePreferred(home))
}

/// A frame of a few bytes.
fn control_frame(frame: &Frame<'_>) -> BytesMut {
    let mut bytes = Vec::new();
    frame
        .encode(&mut bytes)
        .expect("a few bytes are below every limit");
    BytesMut::from(&bytes[..])
}
