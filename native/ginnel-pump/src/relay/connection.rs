//! One connection's life: dial, log in, read and write until it ends.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ginnel_derp::{Client, ClientInfo, Config, Event, NONCE_SIZE, is_disco};
use parking_lot::Mutex;
use rustls::ClientConnection;

use super::dial::{self, TOTAL_TIMEOUT};
use super::pulse::Pulse;
use super::writing::{Budget, Writing};
use super::{Ended, Relay, preferred_frame};
use crate::Key;
use crate::arena::Arena;
use crate::asides::{Aside, Origin};
use crate::counters::Count;
use crate::inbound::Inbound;
use crate::peer::Peer;
use crate::shared::Shared;

/// A relay sends a keep-alive at least every 65 s (tailscale: derp/derp_client.go `keepAlive`, doubled).
const SILENCE_MAX: Duration = Duration::from_secs(120);
const READ_SIZE: usize = 64 * 1024;
const HTTPS: u16 = 443;

/// The thread of one connection.
pub fn run(shared: &Arc<Shared>, relay: &Arc<Relay>) {
    let outcome = catch_unwind(AssertUnwindSafe(|| converse(shared, relay)));
    let silent = relay.silent.load(Ordering::Acquire);
    let why = match outcome {
        _ if silent => "it does not answer any more".to_owned(),
        Ok(Err(why)) => why,
        Ok(Ok(())) => "the relay closed the connection".to_owned(),
        Err(_) => {
            shared.counters.one(Count::ThreadPanic);
            "an internal error".to_owned()
        }
    };
    relay.close();
    match shared.relays.ended(relay) {
        Some(Ended::InUse) => shared.aside(Aside::RelayDown(relay.region, why, silent)),
        Some(Ended::Coming) => shared.aside(Aside::RelayStayed(relay.region, why)),
        None => {}
    }
}

fn converse(shared: &Arc<Shared>, relay: &Arc<Relay>) -> Result<(), String> {
    let deadline = Instant::now() + TOTAL_TIMEOUT;
    let (mut stream, address) =
        dial::connect(&relay.target, shared.mark, || relay.queue.is_closed())?;
    *relay.stream.lock() = Some(stream.try_clone().map_err(|e| e.to_string())?);
    if relay.queue.is_closed() {
        return Ok(());
    }
    let (mut tls, relay_key) = dial::secure(&relay.target, &mut stream, deadline)?;
    tls.set_buffer_limit(None);
    let mut first = Vec::new();
    let client = Client::start(config(shared, relay, address, relay_key), &mut first);
    tls.writer().write_all(&first).map_err(|e| e.to_string())?;
    let mut reading = Reading {
        shared,
        relay,
        address,
        client,
        tls: Arc::new(Mutex::new(tls)),
        budget: Arc::default(),
        inbound: Inbound::default(),
        arena: Arena::new(),
        sender: None,
        answers: Vec::new(),
        ended: false,
    };
    reading.log_in(&mut stream, deadline)?;
    stream
        .set_read_timeout(Some(SILENCE_MAX))
        .and_then(|()| stream.set_write_timeout(None))
        .map_err(|e| e.to_string())?;
    let writing = Writing {
        shared: Arc::clone(shared),
        relay: Arc::clone(relay),
        tls: Arc::clone(&reading.tls),
        budget: Arc::clone(&reading.budget),
        stream: stream.try_clone().map_err(|e| e.to_string())?,
        pulse: Pulse::default(),
    };
    let writer = thread::Builder::new()
        .name(format!("pump-relay{}w", relay.region))
        .spawn(move || writing.run())
        .map_err(|e| e.to_string())?;
    let outcome = reading.read_all(&mut stream);
    relay.close();
    if writer.join().is_err() {
        shared.counters.one(Count::ThreadPanic);
    }
    outcome
}

fn config(shared: &Shared, relay: &Relay, address: SocketAddr, relay_key: Option<Key>) -> Config {
    let mut nonce = [0; NONCE_SIZE];
    aws_lc_rs::rand::fill(&mut nonce).expect("the system gives random bytes");
    let name = &relay.target.server_name;
    Config {
        secret: shared.secret.clone(),
        nonce,
        host: match address.port() {
            HTTPS => name.clone(),
            port => format!("{name}:{port}"),
        },
        ideal_node: None,
        fast_start: relay_key,
        info: ClientInfo::node("ginnel"),
    }
}

/// The reader's state.
struct Reading<'a> {
    shared: &'a Arc<Shared>,
    relay: &'a Arc<Relay>,
    address: SocketAddr,
    client: Client,
    tls: Arc<Mutex<ClientConnection>>,
    budget: Arc<Mutex<Budget>>,
    inbound: Inbound,
    arena: Arena,
    /// The peer that the last packet came from.
    sender: Option<Arc<Peer>>,
    answers: Vec<u8>,
    ended: bool,
}

impl Reading<'_> {
    fn log_in(&mut self, stream: &mut TcpStream, deadline: Instant) -> Result<(), String> {
        let mut raw = vec![0; READ_SIZE];
        loop {
            dial::limit_waiting(stream, deadline).map_err(|_| "login took too long".to_owned())?;
            let mut tls = self.tls.lock();
            tls.writer()
                .write_all(&std::mem::take(&mut self.answers))
                .map_err(|e| e.to_string())?;
            while tls.wants_write() {
                tls.write_tls(stream).map_err(|e| e.to_string())?;
            }
            drop(tls);
            if self.client.is_open() {
                return Ok(());
            }
            let got = stream.read(&mut raw).map_err(|e| match e.kind() {
                ErrorKind::WouldBlock => "login took too long".to_owned(),
                _ => e.to_string(),
            })?;
            self.take_bytes(&raw[..got])?;
            if got == 0 || self.ended {
                return Err("the relay closed the connection before login was through".to_owned());
            }
        }
    }

    fn read_all(&mut self, stream: &mut TcpStream) -> Result<(), String> {
        let mut raw = vec![0; READ_SIZE];
        while !self.ended {
            let got = stream.read(&mut raw).map_err(|e| {
                if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) {
                    self.relay.silent.store(true, Ordering::Release);
                }
                e.to_string()
            })?;
            if got == 0 {
                return Ok(());
            }
            self.relay.heard.fetch_add(1, Ordering::Relaxed);
            self.take_bytes(&raw[..got])?;
            if !self.answers.is_empty() {
                let answers = std::mem::take(&mut self.answers);
                self.relay.queue.push_control(BytesMut::from(&answers[..]));
            }
        }
        Ok(())
    }

    /// Bytes from the socket: through TLS into frames, and the frames to where they belong.
    fn take_bytes(&mut self, mut raw: &[u8]) -> Result<(), String> {
        let now = Instant::now();
        while !raw.is_empty() && !self.ended {
            self.decrypt(&mut raw)?;
            self.take_events(now)?;
        }
        self.inbound.flush(self.shared, now);
        Ok(())
    }

    fn decrypt(&mut self, raw: &mut &[u8]) -> Result<(), String> {
        let mut tls = self.tls.lock();
        tls.read_tls(raw).map_err(|e| format!("TLS: {e}"))?;
        tls.process_new_packets().map_err(|e| format!("TLS: {e}"))?;
        loop {
            match tls.reader().read(self.client.space()) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(size) => self.client.filled(size),
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        let nudge = tls.wants_write();
        drop(tls);
        if nudge {
            self.relay.queue.nudge();
        }
        Ok(())
    }

    fn take_events(&mut self, now: Instant) -> Result<(), String> {
        let (shared, region) = (self.shared, self.relay.region);
        loop {
            let event = self.client.next_event(&mut self.answers);
            match event.map_err(|e| e.to_string())? {
                None => return Ok(()),
                Some(Event::Received { from, packet }) if is_disco(packet) => {
                    shared.aside(Aside::RelayedDisco(region, *from, packet.to_vec()));
                }
                Some(Event::Received { from, packet }) => {
                    shared.counters.one(Count::RelayIn);
                    let known = self
                        .sender
                        .as_ref()
                        .is_some_and(|peer| peer.key == *from && !peer.is_removed());
                    if !known {
                        self.sender = shared.by_key(from);
                    }
                    let Some(peer) = &self.sender else {
                        shared.counters.one(Count::RelayStranger);
                        continue;
                    };
                    let mut message = self.arena.take(packet.len());
                    message.copy_from_slice(packet);
                    let origin = Origin::Region(region);
                    self.inbound.take(shared, origin, Some(peer), message, now);
                }
                Some(Event::Ready { server, info }) => {
                    *self.budget.lock() = Budget::new(info, now);
                    shared.relays.arrived(self.relay);
                    let home = shared.relays.is_preferred(region);
                    self.relay.queue.open(home.then(|| preferred_frame(true)));
                    shared.timers.relay_came_up();
                    shared.aside(Aside::RelayUp(region, server, self.address));
                }
                Some(event) if !self.relay.queue.is_closed() => tell(shared, region, &event),
                // It has been moved away from: what it says of itself does not concern its successor.
                Some(_) => {}
            }
        }
    }
}

/// What a relay says of itself and of peers.
fn tell(shared: &Shared, region: u32, event: &Event<'_>) {
    shared.aside(match *event {
        Event::PeerGone { peer, reason } => Aside::RelayGone(region, *peer, reason),
        Event::Health(problem) => Aside::RelayHealth(region, problem.to_owned()),
        Event::Restarting {
            reconnect_in,
            try_for,
        } => Aside::RelayRestarting(region, reconnect_in, try_for),
        _ => return,
    });
}
