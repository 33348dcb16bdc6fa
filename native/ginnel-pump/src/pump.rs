//! The pump as Python sees it: tables go down, asides come up.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::net::{AddrParseError, IpAddr, SocketAddr};
use std::os::fd::{OwnedFd, RawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Instant;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::BytesMut;
use ginnel_derp::Secret;
use ginnel_tunnel::{Identity, is_low_order};
use parking_lot::{Mutex, RwLock};

use crate::Key;
use crate::asides::{Aside, Asides, eventfd, ring};
use crate::counters::{Count, Counters};
use crate::filter::{Filter, Rule};
use crate::inbound::UdpInbound;
use crate::outbound::Outbound;
use crate::peer::{Peer, Steer};
use crate::prefix::{AddressSet, BadPrefix, Prefix, Range, everything};
use crate::relay::{Relays, Target, Verify};
use crate::send::{Sender, unsendable};
use crate::shared::{Shared, Table};
use crate::side::{SideInbound, SideSockets};
use crate::threads::spawn;
use crate::timers::{self, Timers};
use crate::tun::Tun;
use crate::udp::Sockets;

mod ask;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum PumpError {
    /// A prefix or range cannot be read.
    #[error(transparent)]
    Prefix(#[from] BadPrefix),
    /// An address cannot be read.
    #[error("{0:?} is no IP address")]
    Address(String),
    /// A key that cannot be used.
    #[error("{0}")]
    Key(&'static str),
    /// Anything else that an argument can be wrong in.
    #[error("{0}")]
    Value(String),
    /// The system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A filter rule in text: sources, (destination, first port, last port), protocols.
pub type RuleText = (Vec<String>, Vec<(String, u16, u16)>, Vec<u8>);

/// One peer's counters. Times are seconds since 1970, 0.0 for never.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub struct PeerCounters {
    pub key: Key,
    pub tx_bytes: u64,
    pub rx_bytes: u64,
    pub last_handshake: f64,
    pub last_sent: f64,
    pub last_received: f64,
}

/// The whole.
pub struct Pump {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    stop: Arc<OwnedFd>,
    sockets_changed: Arc<OwnedFd>,
    reads_sides: AtomicBool,
}

impl Pump {
    /// A pump with no device and no sockets yet.
    pub fn new(private_key: Key, mark: u32) -> Result<Pump, PumpError> {
        let shared = Arc::new(Shared {
            identity: Identity::new(private_key, Instant::now()),
            table: RwLock::new(Table::default()),
            indices: RwLock::new(HashMap::new()),
            filter: ArcSwap::default(),
            sockets: ArcSwapOption::empty(),
            sides: SideSockets::new()?,
            tun: ArcSwapOption::empty(),
            asides: Asides::new()?,
            counters: Counters::new(),
            timers: Timers::default(),
            relays: Relays::default(),
            secret: Secret::new(private_key),
            mark,
            stopping: AtomicBool::new(false),
        });
        let mut sender = Sender::default();
        let timer = spawn(&shared, "timers", move |shared| {
            timers::turn(shared, &mut sender);
        })?;
        Ok(Pump {
            shared,
            threads: Mutex::new(vec![timer]),
            stop: Arc::new(eventfd()?),
            sockets_changed: Arc::new(eventfd()?),
            reads_sides: AtomicBool::new(false),
        })
    }

    /// Make the TUN device and carry its packets.
    pub fn open_tun(&self, name: &str, mtu: u16) -> Result<String, PumpError> {
        let mut threads = self.threads.lock();
        self.check_running()?;
        if self.shared.tun.load().is_some() {
            return Err(io::Error::from_raw_os_error(libc::EEXIST).into());
        }
        let tun = Arc::new(Tun::open(name, mtu)?);
        self.shared.tun.store(Some(Arc::clone(&tun)));
        let real = tun.name().to_owned();
        let mut outbound = Outbound::new(tun, Arc::clone(&self.stop));
        threads.push(spawn(&self.shared, "out", move |shared| {
            outbound.turn(shared);
        })?);
        Ok(real)
    }

    /// (Re)bind both sockets. The old ones stay in use when that fails, unless they hold the very port.
    pub fn bind(&self, port: u16) -> Result<(u16, u16), PumpError> {
        let mut threads = self.threads.lock();
        self.check_running()?;
        let old = self.shared.sockets.load_full();
        if let Some(sockets) = &old
            && port != 0
            && sockets.v4.port() == port
        {
            return Ok(sockets.ports());
        }
        let sockets = Arc::new(Sockets::bind(port, self.shared.mark)?);
        let ports = sockets.ports();
        self.shared.sockets.store(Some(sockets));
        ring(&self.sockets_changed);
        if old.is_none() {
            let mut inbound = UdpInbound::new(Arc::clone(&self.sockets_changed));
            threads.push(spawn(&self.shared, "in", move |shared| {
                inbound.turn(shared);
            })?);
        }
        Ok(ports)
    }

    /// Open side sockets: (number, port) of each that could be had.
    pub fn open_sides(&self, count: usize) -> Result<Vec<(u32, u16)>, PumpError> {
        let mut threads = self.threads.lock();
        self.check_running()?;
        if !self.reads_sides.load(Ordering::Relaxed) {
            self.shared.sides.stop_by(&self.stop)?;
            let mut inbound = SideInbound::new();
            threads.push(spawn(&self.shared, "side", move |shared| {
                inbound.turn(shared);
            })?);
            self.reads_sides.store(true, Ordering::Relaxed);
        }
        Ok(self.shared.sides.open(count, self.shared.mark))
    }

    /// Close side sockets.
    pub fn close_sides(&self, numbers: &[u32]) {
        self.shared.sides.close(numbers);
    }

    fn check_running(&self) -> Result<(), PumpError> {
        match self.shared.is_stopping() {
            true => Err(io::Error::from_raw_os_error(libc::ESHUTDOWN).into()),
            false => Ok(()),
        }
    }

    /// Add a peer, or change its prefixes.
    pub fn set_peer(&self, key: Key, allowed_ips: &[String]) -> Result<(), PumpError> {
        let prefixes: Vec<Prefix> = allowed_ips
            .iter()
            .map(|text| text.parse())
            .collect::<Result<_, _>>()?;
        if key == self.shared.identity.public() {
            return Err(PumpError::Key("a node cannot be its own peer"));
        }
        if is_low_order(&key) {
            return Err(PumpError::Key("the peer's public key is of low order"));
        }
        let mut table = self.shared.table.write();
        let peer = match table.by_key.get(&key) {
            Some(peer) => Arc::clone(peer),
            None => {
                let peer = Arc::new(Peer::new(key));
                table.by_key.insert(key, Arc::clone(&peer));
                peer
            }
        };
        let mut allowed = peer.allowed.lock();
        for gone in allowed.iter().filter(|old| !prefixes.contains(old)) {
            table
                .routes
                .remove_if(*gone, |owner| Arc::ptr_eq(owner, &peer));
        }
        for prefix in &prefixes {
            table.routes.insert(*prefix, Arc::clone(&peer));
        }
        *allowed = prefixes;
        Ok(())
    }

    /// A peer restarted: its sessions are dead. Where there was one, a new handshake goes out at once.
    pub fn reset_peer(&self, key: &Key) {
        let Some(peer) = self.shared.by_key(key) else {
            return;
        };
        let now = Instant::now();
        let mut messages = Vec::new();
        self.shared.forget_indices(&peer);
        peer.restart(now, &mut messages);
        let mut sender = Sender::default();
        self.shared
            .transmit(&peer, &mut messages, None, now, &mut sender);
        sender.flush(&self.shared);
    }

    /// Remove a peer: nothing of it is sent or accepted any more once this returns.
    pub fn remove_peer(&self, key: &Key) {
        let mut table = self.shared.table.write();
        let Some(peer) = table.by_key.remove(key) else {
            return;
        };
        peer.removed.store(true, Ordering::Release);
        for prefix in peer.allowed.lock().drain(..) {
            table
                .routes
                .remove_if(prefix, |owner| Arc::ptr_eq(owner, &peer));
        }
        drop(table);
        self.shared.forget_indices(&peer);
        peer.reset();
    }

    /// Choose where a peer's packets go.
    pub fn steer(
        &self,
        key: &Key,
        endpoint: Option<(&str, u16)>,
        region: u32,
        socket: u32,
    ) -> Result<(), PumpError> {
        let endpoint = endpoint
            .map(|(address, port)| socket_address(address, port))
            .transpose()?;
        let Some(peer) = self.shared.by_key(key) else {
            return Ok(());
        };
        if let Some(side) = self.shared.sides.get(socket) {
            side.promote();
        }
        let steer = Steer {
            endpoint,
            region,
            socket,
        };
        let old = peer.steer.swap(Arc::new(steer));
        let found = steer.udp().is_some() && steer.udp() != old.udp();
        let first = !old.leads_somewhere() && steer.leads_somewhere();
        if (found || first) && peer.was_used() {
            self.resume(&peer);
        }
        Ok(())
    }

    /// A path has come up: what waits goes at once.
    fn resume(&self, peer: &Arc<Peer>) {
        let now = Instant::now();
        let mut messages = Vec::new();
        let mut sender = Sender::default();
        peer.tunnel(&self.shared.identity, now)
            .retry(now, &mut messages);
        self.shared
            .transmit(peer, &mut messages, None, now, &mut sender);
        sender.flush(&self.shared);
    }

    /// The prefixes that this node receives for.
    pub fn set_addresses(&self, addresses: &[String]) -> Result<(), PumpError> {
        let local = AddressSet::new(ranges(addresses)?);
        self.shared.filter.rcu(|old| Filter {
            local: local.clone(),
            rules: old.rules.clone(),
        });
        Ok(())
    }

    /// Replace the filter's rules.
    pub fn set_filter(&self, rules: &[RuleText]) -> Result<(), PumpError> {
        let rules: Vec<Rule> = rules.iter().map(rule).collect::<Result<_, _>>()?;
        self.shared.filter.rcu(|old| Filter {
            local: old.local.clone(),
            rules: rules.clone(),
        });
        Ok(())
    }

    /// Send a disco or STUN packet by the tunnel's own socket.
    pub fn send_udp(&self, address: &str, port: u16, packet: &[u8]) -> Result<(), PumpError> {
        let to = socket_address(address, port)?;
        let mut sender = Sender::default();
        sender.push(to, BytesMut::from(packet));
        sender.flush(&self.shared);
        Ok(())
    }

    /// Send one by a side socket; `ttl` 0 leaves the system's.
    pub fn send_side(
        &self,
        socket: u32,
        address: &str,
        port: u16,
        packet: &[u8],
        ttl: u8,
    ) -> Result<(), PumpError> {
        let to = socket_address(address, port)?;
        let sent = match self.shared.sides.get(socket) {
            Some(side) => side.send_one(to, packet, ttl),
            None => Err(io::Error::from_raw_os_error(libc::EADDRNOTAVAIL)),
        };
        match sent {
            Ok(()) => self.shared.counters.one(Count::UdpOut),
            Err(error) => unsendable(&self.shared, to, socket, error.raw_os_error().unwrap_or(0)),
        }
        Ok(())
    }

    /// Dial a relay.
    pub fn relay_open(
        &self,
        region: u32,
        server_name: &str,
        addresses: &[(String, u16)],
        verify: &str,
    ) -> Result<(), PumpError> {
        let target = self.relay_target(region, server_name, addresses, verify)?;
        Ok(self.shared.relays.open(&self.shared, region, target)?)
    }

    /// See `relay::Relays::move_to`.
    pub fn relay_move(
        &self,
        region: u32,
        server_name: &str,
        addresses: &[(String, u16)],
        verify: &str,
    ) -> Result<(), PumpError> {
        let target = self.relay_target(region, server_name, addresses, verify)?;
        Ok(self.shared.relays.move_to(&self.shared, region, target)?)
    }

    fn relay_target(
        &self,
        region: u32,
        server_name: &str,
        addresses: &[(String, u16)],
        verify: &str,
    ) -> Result<Target, PumpError> {
        self.check_running()?;
        if region == 0 {
            return Err(PumpError::Value("region 0 stands for none".to_owned()));
        }
        Ok(Target {
            server_name: server_name.to_owned(),
            addresses: addresses
                .iter()
                .map(|(address, port)| socket_address(address, *port))
                .collect::<Result<_, _>>()?,
            verify: Verify::parse(verify)
                .ok_or_else(|| PumpError::Value(format!("{verify:?} is no way to verify")))?,
        })
    }

    /// Close one relay's connection.
    pub fn relay_close(&self, region: u32) {
        self.shared.relays.close(region);
    }

    /// Which relay is home; 0 for none.
    pub fn relay_prefer(&self, region: u32) {
        self.shared.relays.prefer(region);
    }

    /// Send a disco packet by a relay.
    pub fn relay_send(&self, region: u32, to: &Key, packet: &[u8]) {
        self.shared
            .relays
            .send_disco(&self.shared, region, to, packet);
    }

    /// Take asides.
    pub fn drain(&self, limit: usize) -> Vec<Aside> {
        self.shared.asides.drain(limit)
    }

    /// Readable while asides wait.
    pub fn as_raw_fd(&self) -> RawFd {
        self.shared.asides.as_raw_fd()
    }

    /// Every peer's counters.
    pub fn peers(&self) -> Vec<PeerCounters> {
        let table = self.shared.table.read();
        table
            .by_key
            .values()
            .map(|peer| counters_of(peer))
            .collect()
    }

    /// Drops and events by name.
    pub fn counters(&self) -> Vec<(&'static str, u64)> {
        self.shared.counters.read().collect()
    }

    /// Stop the threads, close the sockets, remove the device.
    pub fn close(&self) {
        let mut threads = self.threads.lock();
        self.shared.stopping.store(true, Ordering::Release);
        ring(&self.stop);
        ring(&self.sockets_changed);
        self.shared.timers.wake();
        self.shared.relays.close_all();
        for thread in threads.drain(..) {
            // A turn's panic was counted; there is nothing more to learn from the thread.
            let _ = thread.join();
        }
        self.shared.tun.store(None);
        self.shared.sockets.store(None);
        self.shared.sides.close_all();
        self.forget_all();
    }

    /// Peers are held by the tables that they are in: let go of the sessions' keys now.
    fn forget_all(&self) {
        let peers: VecDeque<Key> = self.shared.table.read().by_key.keys().copied().collect();
        for key in peers {
            self.remove_peer(&key);
        }
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.close();
    }
}

fn counters_of(peer: &Peer) -> PeerCounters {
    let seconds = |ms: &std::sync::atomic::AtomicU64| ms.load(Ordering::Relaxed) as f64 / 1000.0;
    PeerCounters {
        key: peer.key,
        tx_bytes: peer.stats.tx_bytes.load(Ordering::Relaxed),
        rx_bytes: peer.stats.rx_bytes.load(Ordering::Relaxed),
        last_handshake: seconds(&peer.stats.handshake),
        last_sent: seconds(&peer.stats.sent),
        last_received: seconds(&peer.stats.received),
    }
}

fn socket_address(address: &str, port: u16) -> Result<SocketAddr, PumpError> {
    let bad = |_: AddrParseError| PumpError::Address(address.to_owned());
    match address.contains('%') {
        // A scope stands between address and port in text form.
        true => format!("[{address}]:{port}").parse().map_err(bad),
        false => Ok(SocketAddr::new(
            address.parse::<IpAddr>().map_err(bad)?.to_canonical(),
            port,
        )),
    }
}

fn ranges(texts: &[String]) -> Result<Vec<Range>, BadPrefix> {
    let mut ranges = Vec::with_capacity(texts.len());
    for text in texts {
        match text.as_str() {
            "*" => ranges.extend(everything()),
            text => ranges.push(text.parse()?),
        }
    }
    Ok(ranges)
}

fn rule((sources, destinations, protocols): &RuleText) -> Result<Rule, PumpError> {
    let mut wanted = Vec::with_capacity(destinations.len());
    for (text, first, last) in destinations {
        if first > last {
            return Err(PumpError::Value(format!("ports {first}-{last} are none")));
        }
        for range in ranges(std::slice::from_ref(text))? {
            wanted.push((range, *first, *last));
        }
    }
    Ok(Rule {
        sources: AddressSet::new(ranges(sources)?),
        destinations: wanted,
        protocols: protocols.clone(),
    })
}
