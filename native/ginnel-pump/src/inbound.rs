//! The way in: from a socket or a relay to the TUN device.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::BytesMut;
use ginnel_tunnel::{Event, TunnelError};
use ginnel_wire::datagram::{Datagram, classify};
use ginnel_wire::ip;
use ginnel_wire::wireguard::{self, Message};

use crate::Key;
use crate::asides::{Aside, Origin, silence};
use crate::coalesce::Coalescer;
use crate::copies::Mark;
use crate::counters::Count;
use crate::filter::Verdict;
use crate::peer::{Peer, wall_ms};
use crate::receive::Receiver;
use crate::send::Sender;
use crate::shared::Shared;
use crate::threads::wait_readable;
use crate::tsmp::{self, Tsmp};

mod handshakes;

/// Opens messages and judges what was in them. Each thread that receives has one.
#[derive(Default)]
pub struct Inbound {
    run: Run,
    replies: Vec<BytesMut>,
    opened: Vec<BytesMut>,
    answers: Vec<BytesMut>,
    coalescer: Coalescer,
    /// Replies that wait for the end of the batch.
    pub sender: Sender,
    source: Option<IpAddr>,
}

/// Data messages of one keypair that came by one way, one after the other.
#[derive(Default)]
struct Run {
    of: Option<(Arc<Peer>, u32, Origin)>,
    messages: Vec<BytesMut>,
}

impl Inbound {
    /// Take a WireGuard message. `from`: the relay says that this peer sent it.
    pub fn take(
        &mut self,
        shared: &Shared,
        origin: Origin,
        from: Option<&Arc<Peer>>,
        message: BytesMut,
        now: Instant,
    ) {
        match wireguard::message(&message) {
            Some(Message::Data { receiver }) => {
                self.take_data(shared, origin, from, receiver, message, now);
            }
            Some(kind) => {
                self.finish_run(shared, now);
                self.take_handshake(shared, origin, from, kind, message, now);
            }
            None => shared.counters.one(match message.len() {
                ..wireguard::OVERHEAD => Count::UdpShort,
                _ => Count::UdpMalformed,
            }),
        }
    }

    /// The batch ends: write to the device, send replies.
    pub fn flush(&mut self, shared: &Shared, now: Instant) {
        self.finish_run(shared, now);
        if !self.coalescer.is_empty() {
            let tun = shared.tun.load();
            let (written, failed) = self.coalescer.flush(|pieces| {
                shared.counters.one(Count::TunWrites);
                match tun.as_deref() {
                    Some(tun) => tun.write(pieces),
                    None => Err(std::io::ErrorKind::NotConnected.into()),
                }
            });
            shared.counters.many(Count::TunOut, written);
            shared.counters.many(Count::TunWriteError, failed);
        }
        self.sender.flush(shared);
    }

    fn take_data(
        &mut self,
        shared: &Shared,
        origin: Origin,
        from: Option<&Arc<Peer>>,
        receiver: u32,
        message: BytesMut,
        now: Instant,
    ) {
        let continues =
            matches!(&self.run.of, Some((_, index, way)) if (*index, *way) == (receiver, origin));
        if !continues {
            self.finish_run(shared, now);
            let Some(peer) = shared.by_index(receiver).filter(|peer| is_from(peer, from)) else {
                return shared.counters.one(Count::WireguardNoKeypair);
            };
            self.run.of = Some((peer, receiver, origin));
        }
        self.run.messages.push(message);
    }

    fn finish_run(&mut self, shared: &Shared, now: Instant) {
        let Some((peer, _, origin)) = self.run.of.take() else {
            return;
        };
        if peer.is_removed() {
            return self.run.messages.clear();
        }
        let mut bytes = 0;
        let mut renewed = false;
        let mut copied = false;
        let relayed = matches!(origin, Origin::Region(_));
        let mut copies = peer.copies.lock();
        let mut tunnel = peer.tunnel(&shared.identity, now);
        for message in self.run.messages.drain(..) {
            let len = message.len();
            let mark = Mark::of(&message);
            match tunnel.open(message, now, &mut self.replies) {
                Ok((packet, event)) => {
                    bytes += len;
                    renewed |= event == Event::Keypair;
                    self.opened.push(packet);
                    if let (true, Some(mark)) = (relayed, mark) {
                        copies.note(mark, now);
                    }
                }
                Err(error) => {
                    shared.counters.one(count_of(error));
                    copied |= error == TunnelError::Replay
                        && !relayed
                        && mark.is_some_and(|mark| copies.take(&mark, now));
                }
            }
        }
        drop(tunnel);
        drop(copies);
        if bytes > 0 || copied {
            self.heard(shared, &peer, origin, bytes, now);
        }
        if renewed {
            keypair(shared, &peer);
        }
        self.judge_all(shared, &peer, now);
        shared.transmit(
            &peer,
            &mut self.replies,
            Some(origin),
            now,
            &mut self.sender,
        );
    }

    fn heard(&self, shared: &Shared, peer: &Arc<Peer>, origin: Origin, bytes: usize, now: Instant) {
        shared.timers.watch(peer);
        if peer.stats.received(bytes, origin, now) {
            shared.aside(Aside::Received(peer.key, origin));
        }
    }

    fn judge_all(&mut self, shared: &Shared, peer: &Arc<Peer>, now: Instant) {
        let filter = shared.filter.load();
        self.coalescer.glue_udp = shared
            .tun
            .load()
            .as_ref()
            .is_some_and(|tun| tun.takes_udp_super_packets());
        let mut flows = peer.flows.lock();
        self.source = None;
        let mut opened = std::mem::take(&mut self.opened);
        for mut packet in opened.drain(..).filter(|packet| !packet.is_empty()) {
            let Ok(header) = ip::parse(&packet) else {
                shared.counters.one(Count::FilterMalformed);
                continue;
            };
            if !self.may_send_from(shared, peer, header.source) {
                shared.counters.one(Count::FilterSource);
                continue;
            }
            match filter.inbound(&header, &mut flows) {
                Verdict::Accept => {
                    let len = header.total_len;
                    packet.truncate(len);
                    self.coalescer.push(packet);
                }
                Verdict::Tsmp => self.take_tsmp(shared, &peer.key, &header),
                Verdict::Drop(count) => {
                    shared.counters.one(count);
                    if count == Count::FilterNoRule
                        && let Some(answer) = tsmp::reject(&header)
                    {
                        shared.counters.one(Count::TsmpRejectSent);
                        self.answers.push(answer);
                    }
                }
            }
        }
        self.opened = opened;
        drop(flows);
        self.seal_answers(shared, peer, now);
    }

    fn seal_answers(&mut self, shared: &Shared, peer: &Arc<Peer>, now: Instant) {
        if self.answers.is_empty() {
            return;
        }
        let mut tunnel = peer.tunnel(&shared.identity, now);
        for mut answer in self.answers.drain(..) {
            ginnel_tunnel::pad(&mut answer, usize::MAX);
            tunnel.seal(answer, now, &mut self.replies);
        }
    }

    /// The inner source must be the sender's own (WireGuard paper §3): whoever the table names for it.
    fn may_send_from(&mut self, shared: &Shared, peer: &Arc<Peer>, source: IpAddr) -> bool {
        if self.source == Some(source) {
            return true;
        }
        let table = shared.table.read();
        let own = table
            .routes
            .get(source)
            .is_some_and(|owner| Arc::ptr_eq(owner, peer));
        self.source = own.then_some(source);
        own
    }

    fn take_tsmp(&mut self, shared: &Shared, key: &Key, header: &ip::Ip<'_>) {
        shared.counters.one(Count::Tsmp);
        match tsmp::take(header) {
            Tsmp::Answer(answer) => self.answers.push(answer),
            Tsmp::DiscoKey(disco) => shared.aside(Aside::PeerDisco(*key, disco)),
            Tsmp::Nothing => {}
        }
    }
}

fn keypair(shared: &Shared, peer: &Peer) {
    peer.stats.handshake.store(wall_ms(), Ordering::Relaxed);
    shared.aside(Aside::Handshake(peer.key));
}

fn is_from(peer: &Arc<Peer>, from: Option<&Arc<Peer>>) -> bool {
    from.is_none_or(|from| Arc::ptr_eq(peer, from))
}

fn count_of(error: TunnelError) -> Count {
    match error {
        TunnelError::Replay => Count::WireguardReplay,
        TunnelError::NoKeypair => Count::WireguardNoKeypair,
        TunnelError::Repeat => Count::HandshakeRepeat,
        TunnelError::Forged | TunnelError::LowOrder => Count::WireguardForged,
    }
}

/// State of the thread that reads the UDP sockets.
pub struct UdpInbound {
    inbound: Inbound,
    receiver: Receiver,
    changed: Arc<OwnedFd>,
}

impl UdpInbound {
    /// Ready to run. `changed` becomes readable when the sockets are others or the pump stops.
    pub fn new(changed: Arc<OwnedFd>) -> UdpInbound {
        UdpInbound {
            inbound: Inbound::default(),
            receiver: Receiver::new(),
            changed,
        }
    }

    /// Carry what waits; wait first if nothing does.
    pub fn turn(&mut self, shared: &Shared) {
        let sockets = shared.sockets.load_full();
        let fd = |v6: bool| match &sockets {
            Some(sockets) if v6 => sockets.v6.as_ref().map_or(-1, AsRawFd::as_raw_fd),
            Some(sockets) => sockets.v4.as_raw_fd(),
            None => -1,
        };
        let [v4, v6, changed] = wait_readable([fd(false), fd(true), self.changed.as_raw_fd()]);
        if changed {
            silence(&self.changed);
            return;
        }
        let Some(sockets) = sockets else { return };
        let mut more = [v4, v6 && sockets.v6.is_some()];
        // Each family in turn, so that neither starves the other, until both are empty.
        while more != [false, false] && !shared.is_stopping() {
            for (socket, more) in sockets.each().zip(&mut more) {
                if *more {
                    *more = self.receive(shared, socket);
                }
            }
            if !shared
                .sockets
                .load()
                .as_ref()
                .is_some_and(|current| Arc::ptr_eq(current, &sockets))
            {
                return;
            }
        }
    }

    fn receive(&mut self, shared: &Shared, socket: &crate::udp::UdpSocket) -> bool {
        let now = Instant::now();
        let inbound = &mut self.inbound;
        let received = self.receiver.receive(socket, |source, datagram| {
            take_datagram(shared, inbound, source, 0, datagram, now);
        });
        self.inbound.flush(shared, now);
        // An error (a pending ICMP error, say) was consumed by the call: what follows it may be good.
        let messages = received.unwrap_or(0);
        shared
            .counters
            .many(Count::UdpReads, usize::from(messages > 0));
        messages > 0
    }
}

/// Take what came by UDP; `socket` is the side socket's number, 0 for the tunnel's own.
pub fn take_datagram(
    shared: &Shared,
    inbound: &mut Inbound,
    source: SocketAddr,
    socket: u32,
    datagram: BytesMut,
    now: Instant,
) {
    shared.counters.one(Count::UdpIn);
    match classify(&datagram) {
        Datagram::WireGuard => {
            let origin = match socket {
                0 => Origin::Endpoint(source),
                side => Origin::Side(source, side),
            };
            inbound.take(shared, origin, None, datagram, now);
        }
        Datagram::Disco => shared.aside(Aside::Disco(source, socket, datagram.to_vec())),
        Datagram::Stun => shared.aside(Aside::Stun(source, socket, datagram.to_vec())),
        Datagram::GeneveDisco | Datagram::GeneveWireGuard => {
            shared.counters.one(Count::UdpGeneve);
        }
    }
}
