//! Frames: a header of five bytes and a body (tailscale: derp/derp.go). `parse` reads them.

use std::net::{IpAddr, SocketAddr};

use crate::{DerpError, HEADER_SIZE, Key, MAX_PACKET_SIZE};

/// The frame types.
pub mod kind {
    #![allow(
        missing_docs,
        reason = "the names are the protocol's; `Frame` says what each holds"
    )]
    pub const SERVER_KEY: u8 = 0x01;
    pub const CLIENT_INFO: u8 = 0x02;
    pub const SERVER_INFO: u8 = 0x03;
    pub const SEND_PACKET: u8 = 0x04;
    pub const RECV_PACKET: u8 = 0x05;
    pub const KEEP_ALIVE: u8 = 0x06;
    pub const NOTE_PREFERRED: u8 = 0x07;
    pub const PEER_GONE: u8 = 0x08;
    pub const PEER_PRESENT: u8 = 0x09;
    pub const FORWARD_PACKET: u8 = 0x0a;
    pub const WATCH_CONNS: u8 = 0x10;
    pub const CLOSE_PEER: u8 = 0x11;
    pub const PING: u8 = 0x12;
    pub const PONG: u8 = 0x13;
    pub const HEALTH: u8 = 0x14;
    pub const RESTARTING: u8 = 0x15;
}

/// "DERP" and U+1F511.
pub(crate) const MAGIC: [u8; 8] = *b"DERP\xf0\x9f\x94\x91";
const DISCO_MAGIC: [u8; 6] = *b"TS\xf0\x9f\x92\xac";

/// One frame; packets and boxes are borrowed from the buffer it came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Relay, first: its public key.
    ServerKey(&'a Key),
    /// Client, second: its node key, then nonce and box.
    ClientInfo {
        /// The node key the client claims.
        key: &'a Key,
        /// Nonce and box.
        sealed: &'a [u8],
    },
    /// Relay, third: nonce and box.
    ServerInfo {
        /// Nonce and box.
        sealed: &'a [u8],
    },
    /// Client: carry this packet to that node.
    SendPacket {
        /// Destination.
        to: &'a Key,
        /// At most 64 KiB.
        packet: &'a [u8],
    },
    /// Relay: a packet from that node.
    RecvPacket {
        /// Source; the relay wrote it.
        from: &'a Key,
        /// At most 64 KiB.
        packet: &'a [u8],
    },
    /// Relay: still here.
    KeepAlive,
    /// Client: whether this relay is its home.
    NotePreferred(bool),
    /// Relay: this node is not connected (0 disconnected, 1 not here).
    PeerGone {
        /// Who.
        peer: &'a Key,
        /// Why; absent is 0.
        reason: u8,
    },
    /// Relay to a watcher: this node is connected. Older relays leave the last fields out.
    PeerPresent {
        /// Who.
        peer: &'a Key,
        /// From where.
        address: Option<SocketAddr>,
        /// 1 regular, 2 mesh peer, 4 prober, 8 not its ideal node.
        flags: u8,
    },
    /// Relay of the same region: carry this packet, which came in there.
    ForwardPacket {
        /// Source.
        from: &'a Key,
        /// Destination.
        to: &'a Key,
        /// At most 64 KiB.
        packet: &'a [u8],
    },
    /// Relay of the same region: tell who comes and goes.
    WatchConns,
    /// Relay of the same region: close this node's connection.
    ClosePeer(&'a Key),
    /// Answer with the same eight bytes.
    Ping([u8; 8]),
    /// The answer.
    Pong([u8; 8]),
    /// Relay: a problem of this connection in words; empty when it is over.
    Health(&'a str),
    /// Relay: it restarts.
    Restarting {
        /// Wait this long, in milliseconds.
        reconnect_in: u32,
        /// Then try for this long, in milliseconds.
        try_for: u32,
    },
    /// Anything else: to be skipped.
    Unknown {
        /// Its type.
        kind: u8,
        /// Its body.
        body: &'a [u8],
    },
}

impl<'a> Frame<'a> {
    /// Append the frame. Errors when its packet is above 64 KiB or it can't have a u32 length; `out` is as before then.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), DerpError> {
        match *self {
            Frame::ServerKey(key) => put(out, kind::SERVER_KEY, &[&MAGIC, key]),
            Frame::ClientInfo { key, sealed } => put(out, kind::CLIENT_INFO, &[key, sealed]),
            Frame::ServerInfo { sealed } => put(out, kind::SERVER_INFO, &[sealed]),
            Frame::SendPacket { to, packet } => put_packet(out, kind::SEND_PACKET, to, packet),
            Frame::RecvPacket { from, packet } => put_packet(out, kind::RECV_PACKET, from, packet),
            Frame::KeepAlive => put(out, kind::KEEP_ALIVE, &[]),
            Frame::NotePreferred(home) => put(out, kind::NOTE_PREFERRED, &[&[u8::from(home)]]),
            Frame::PeerGone { peer, reason } => put(out, kind::PEER_GONE, &[peer, &[reason]]),
            Frame::PeerPresent {
                peer,
                address,
                flags,
            } => put(
                out,
                kind::PEER_PRESENT,
                &[peer, &address_bytes(address), &[flags]],
            ),
            Frame::ForwardPacket { from, to, packet } => {
                within_packet_limit(kind::FORWARD_PACKET, packet)?;
                put(out, kind::FORWARD_PACKET, &[from, to, packet])
            }
            Frame::WatchConns => put(out, kind::WATCH_CONNS, &[]),
            Frame::ClosePeer(peer) => put(out, kind::CLOSE_PEER, &[peer]),
            Frame::Ping(echo) => put(out, kind::PING, &[&echo]),
            Frame::Pong(echo) => put(out, kind::PONG, &[&echo]),
            Frame::Health(problem) => put(out, kind::HEALTH, &[problem.as_bytes()]),
            Frame::Restarting {
                reconnect_in,
                try_for,
            } => put(
                out,
                kind::RESTARTING,
                &[&reconnect_in.to_be_bytes(), &try_for.to_be_bytes()],
            ),
            Frame::Unknown { kind, body } => put(out, kind, &[body]),
        }
    }
}

/// Whether a packet is a disco message and not WireGuard (tailscale: disco/disco.go, LooksLikeDiscoWrapper).
pub fn is_disco(packet: &[u8]) -> bool {
    packet.len() >= DISCO_MAGIC.len() + 32 + crate::NONCE_SIZE && packet.starts_with(&DISCO_MAGIC)
}

/// Append a frame's header.
pub fn put_header(out: &mut Vec<u8>, kind: u8, body_size: u32) {
    out.push(kind);
    out.extend_from_slice(&body_size.to_be_bytes());
}

/// Append a SendPacket or RecvPacket frame.
pub fn put_packet(out: &mut Vec<u8>, kind: u8, peer: &Key, packet: &[u8]) -> Result<(), DerpError> {
    within_packet_limit(kind, packet)?;
    out.extend_from_slice(&packet_header(kind, peer, packet.len()));
    out.extend_from_slice(packet);
    Ok(())
}

/// What stands before the packet in a SendPacket or RecvPacket frame, for callers that write the packet themselves.
/// `packet_size` is at most MAX_PACKET_SIZE.
pub fn packet_header(kind: u8, peer: &Key, packet_size: usize) -> [u8; HEADER_SIZE + 32] {
    debug_assert!(packet_size <= MAX_PACKET_SIZE);
    let mut head = [0; HEADER_SIZE + 32];
    head[0] = kind;
    head[1..5].copy_from_slice(&((packet_size + 32) as u32).to_be_bytes());
    head[5..].copy_from_slice(peer);
    head
}

/// What stands before the packet in a ForwardPacket frame. `packet_size` is at most MAX_PACKET_SIZE.
pub fn forward_header(from: &Key, to: &Key, packet_size: usize) -> [u8; HEADER_SIZE + 64] {
    debug_assert!(packet_size <= MAX_PACKET_SIZE);
    let mut head = [0; HEADER_SIZE + 64];
    head[0] = kind::FORWARD_PACKET;
    head[1..5].copy_from_slice(&((packet_size + 64) as u32).to_be_bytes());
    head[5..37].copy_from_slice(from);
    head[37..].copy_from_slice(to);
    head
}

fn put(out: &mut Vec<u8>, kind: u8, parts: &[&[u8]]) -> Result<(), DerpError> {
    let size: usize = parts.iter().map(|part| part.len()).sum();
    let too_long = DerpError::TooLong {
        kind,
        size,
        limit: u32::MAX as usize,
    };
    put_header(out, kind, u32::try_from(size).map_err(|_| too_long)?);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    Ok(())
}

pub(crate) fn within_packet_limit(kind: u8, packet: &[u8]) -> Result<(), DerpError> {
    if packet.len() <= MAX_PACKET_SIZE {
        return Ok(());
    }
    Err(DerpError::TooLong {
        kind,
        size: packet.len(),
        limit: MAX_PACKET_SIZE,
    })
}

fn address_bytes(address: Option<SocketAddr>) -> [u8; 18] {
    let mut bytes = [0; 18];
    if let Some(address) = address {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        bytes[..16].copy_from_slice(&ip.octets());
        bytes[16..].copy_from_slice(&address.port().to_be_bytes());
    }
    bytes
}
