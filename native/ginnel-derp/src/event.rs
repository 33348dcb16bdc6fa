//! What a relay tells a client, frame by frame.

use crate::{DerpError, Frame, Inbox, Key, ServerInfo};

/// What a relay told us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event<'a> {
    /// The login is through: packets may be sent.
    Ready {
        /// The relay's key.
        server: Key,
        /// Its limits.
        info: ServerInfo,
    },
    /// A packet from a peer.
    Received {
        /// Whom the relay names as its source.
        from: &'a Key,
        /// The packet.
        packet: &'a [u8],
    },
    /// A peer is not, or no longer, on this relay.
    PeerGone {
        /// Who.
        peer: &'a Key,
        /// 0 disconnected, 1 not here.
        reason: u8,
    },
    /// To a relay that watches: a peer is connected there.
    PeerPresent {
        /// Who.
        peer: &'a Key,
        /// 1 regular, 2 mesh peer, 4 prober, 8 not its ideal node.
        flags: u8,
    },
    /// Words about a problem; empty when it is over.
    Health(&'a str),
    /// The relay restarts; milliseconds.
    Restarting {
        /// Wait this long.
        reconnect_in: u32,
        /// Then try for this long.
        try_for: u32,
    },
    /// A sign of life: KeepAlive or Ping, the answer to which is written already.
    Alive,
    /// The answer to our ping.
    Pong([u8; 8]),
}

/// What comes once the login is through.
pub(crate) fn next_open_event<'a>(
    inbox: &'a mut Inbox,
    malformed: &mut u64,
    out: &mut Vec<u8>,
) -> Result<Option<Event<'a>>, DerpError> {
    let Some(frame) = inbox.next_frame()? else {
        return Ok(None);
    };
    let event = match Frame::decode(frame.kind, frame.body) {
        Ok(Frame::RecvPacket { from, packet }) => Event::Received { from, packet },
        Ok(Frame::PeerGone { peer, reason }) => Event::PeerGone { peer, reason },
        Ok(Frame::PeerPresent { peer, flags, .. }) => Event::PeerPresent { peer, flags },
        Ok(Frame::Pong(echo)) => Event::Pong(echo),
        Ok(Frame::Health(problem)) => Event::Health(problem),
        Ok(Frame::Restarting {
            reconnect_in,
            try_for,
        }) => Event::Restarting {
            reconnect_in,
            try_for,
        },
        Ok(Frame::Ping(echo)) => {
            Frame::Pong(echo).encode(out)?;
            Event::Alive
        }
        Ok(_) => Event::Alive,
        Err(_) => {
            *malformed += 1;
            Event::Alive
        }
    };
    Ok(Some(event))
}
