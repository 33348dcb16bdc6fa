//! The thread that carries the host's packets into the tunnels.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ginnel_wire::datagram::is_disco;
use ginnel_wire::ip::{self, Ip, protocol};
use ginnel_wire::transport::{self, Transport};

use crate::asides::Aside;
use crate::counters::Count;
use crate::filter;
use crate::peer::Peer;
use crate::send::Sender;
use crate::shared::Shared;
use crate::threads::wait_readable;
use crate::tun::{Reader, Super, Tun};

/// Messages that are gathered before they are sent.
const BATCH: usize = 128;

/// State of the thread.
pub struct Outbound {
    tun: Arc<Tun>,
    stop: Arc<OwnedFd>,
    reader: Reader,
    carrier: Carrier,
}

impl Outbound {
    /// Ready to run. `stop` becomes readable when the pump stops.
    pub fn new(tun: Arc<Tun>, stop: Arc<OwnedFd>) -> Outbound {
        let mtu = tun.mtu();
        Outbound {
            tun,
            stop,
            reader: Reader::new(),
            carrier: Carrier {
                mtu,
                sender: Sender::default(),
                packets: Vec::new(),
                messages: Vec::new(),
                route: None,
            },
        }
    }

    /// Carry what waits; wait first if nothing does.
    pub fn turn(&mut self, shared: &Shared) {
        wait_readable([self.tun.as_raw_fd(), self.stop.as_raw_fd()]);
        let mut more = true;
        while more && !shared.is_stopping() {
            // Routes may have changed since the last batch.
            self.carrier.route = None;
            more = self.gather(shared, Instant::now());
            self.carrier.sender.flush(shared);
        }
    }

    /// Read and seal until a batch is full (true) or nothing waits.
    fn gather(&mut self, shared: &Shared, now: Instant) -> bool {
        while self.carrier.sender.len() < BATCH {
            match self.reader.read(&self.tun) {
                Ok(Some(packet)) => {
                    shared.counters.one(Count::TunReads);
                    if let Err(count) = self.carrier.carry(shared, packet, now) {
                        shared.counters.one(count);
                    }
                }
                Ok(None) => return false,
                Err(error) => {
                    shared.counters.one(Count::TunReadError);
                    return !wait_if_gone(&error);
                }
            }
        }
        true
    }
}

/// EBADFD and EIO: the device is gone or down, and it would be readable all the time.
fn wait_if_gone(error: &io::Error) -> bool {
    let gone = matches!(error.raw_os_error(), Some(libc::EBADFD | libc::EIO));
    if gone {
        std::thread::sleep(Duration::from_millis(50));
    }
    gone
}

/// Routes and seals.
struct Carrier {
    mtu: usize,
    sender: Sender,
    packets: Vec<BytesMut>,
    messages: Vec<BytesMut>,
    route: Option<(IpAddr, Arc<Peer>)>,
}

impl Carrier {
    fn carry(&mut self, shared: &Shared, packet: Super<'_>, now: Instant) -> Result<(), Count> {
        let header = ip::parse(packet.packet()).map_err(|_| Count::FilterMalformed)?;
        if is_own_disco(shared, &header) {
            return Err(Count::TunOwnDisco);
        }
        let peer = self
            .peer_for(shared, header.destination)
            .ok_or(Count::TunNoPeer)?;
        filter::outbound(&header, &mut peer.flows.lock())?;
        packet
            .split(&mut self.packets)
            .map_err(|_| Count::FilterMalformed)?;
        shared.counters.many(Count::TunIn, self.packets.len());
        self.seal(shared, &peer, now);
        Ok(())
    }

    fn peer_for(&mut self, shared: &Shared, destination: IpAddr) -> Option<Arc<Peer>> {
        if let Some((address, peer)) = &self.route
            && *address == destination
            && !peer.is_removed()
        {
            return Some(Arc::clone(peer));
        }
        let peer = Arc::clone(shared.table.read().routes.get(destination)?);
        self.route = Some((destination, Arc::clone(&peer)));
        Some(peer)
    }

    fn seal(&mut self, shared: &Shared, peer: &Arc<Peer>, now: Instant) {
        let mtu = self.mtu;
        let reachable = peer.steer.load().leads_somewhere();
        let mut dropped = 0;
        let mut tunnel = peer.tunnel(&shared.identity, now);
        for mut packet in self.packets.drain(..) {
            ginnel_tunnel::pad(&mut packet, mtu);
            dropped += match reachable {
                true => tunnel.seal(packet, now, &mut self.messages),
                false => tunnel.stage(BytesMut::from(&packet[..])),
            };
        }
        drop(tunnel);
        shared.counters.many(Count::TunStaged, dropped);
        if !reachable && peer.stats.sent(0, now) {
            // This is what starts the search for a path.
            shared.aside(Aside::Sent(peer.key));
        }
        shared.transmit(peer, &mut self.messages, None, now, &mut self.sender);
    }
}

/// Our own disco, routed into the tunnel for want of a mark: it would find a path through itself.
fn is_own_disco(shared: &Shared, ip: &Ip<'_>) -> bool {
    if ip.protocol != protocol::UDP || !ip.payload.get(8..).is_some_and(is_disco) {
        return false;
    }
    let Transport::Datagram { source, .. } = transport::parse(ip.protocol, ip.payload) else {
        return false;
    };
    shared.sides.has_port(source)
        || shared
            .sockets
            .load()
            .as_ref()
            .is_some_and(|sockets| sockets.each().any(|socket| socket.port() == source))
}
