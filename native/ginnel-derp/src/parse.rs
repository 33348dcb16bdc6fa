//! Reading a frame's body (tailscale: derp/derp.go, derp/derp_client.go). Any bytes give a frame or an error.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::frame::{MAGIC, within_packet_limit};
use crate::{DerpError, Frame, Key, kind};

impl<'a> Frame<'a> {
    /// Read a frame's body. Bytes behind the last known field are the future's and are ignored.
    pub fn decode(kind: u8, body: &'a [u8]) -> Result<Self, DerpError> {
        let short = DerpError::BadLength {
            kind,
            size: body.len(),
        };
        Self::read(kind, body)?.ok_or(short)
    }

    fn read(kind: u8, body: &'a [u8]) -> Result<Option<Self>, DerpError> {
        Ok(match kind {
            kind::SERVER_KEY => read_server_key(body)?.map(Frame::ServerKey),
            kind::CLIENT_INFO => body
                .split_first_chunk()
                .map(|(key, sealed)| Frame::ClientInfo { key, sealed }),
            kind::SERVER_INFO => Some(Frame::ServerInfo { sealed: body }),
            kind::SEND_PACKET => {
                read_packet(kind, body)?.map(|(to, packet)| Frame::SendPacket { to, packet })
            }
            kind::RECV_PACKET => {
                read_packet(kind, body)?.map(|(from, packet)| Frame::RecvPacket { from, packet })
            }
            kind::KEEP_ALIVE => Some(Frame::KeepAlive),
            kind::NOTE_PREFERRED if body.len() == 1 => Some(Frame::NotePreferred(body[0] != 0)),
            kind::NOTE_PREFERRED => None,
            kind::PEER_GONE => body
                .split_first_chunk()
                .map(|(peer, rest)| Frame::PeerGone {
                    peer,
                    reason: rest.first().copied().unwrap_or(0),
                }),
            kind::PEER_PRESENT => read_peer_present(body),
            kind::FORWARD_PACKET => read_forward(body)?,
            kind::WATCH_CONNS => Some(Frame::WatchConns),
            kind::CLOSE_PEER => body
                .split_first_chunk()
                .map(|(peer, _)| Frame::ClosePeer(peer)),
            kind::PING => body.first_chunk().map(|echo| Frame::Ping(*echo)),
            kind::PONG => body.first_chunk().map(|echo| Frame::Pong(*echo)),
            kind::HEALTH => Some(Frame::Health(std::str::from_utf8(body).map_err(|_| {
                DerpError::Malformed {
                    kind,
                    why: "expected UTF-8",
                }
            })?)),
            kind::RESTARTING => read_restarting(body),
            _ => Some(Frame::Unknown { kind, body }),
        })
    }
}

fn read_server_key(body: &[u8]) -> Result<Option<&Key>, DerpError> {
    let Some((magic, rest)) = body.split_first_chunk::<8>() else {
        return Ok(None);
    };
    if *magic != MAGIC {
        return Err(DerpError::Malformed {
            kind: kind::SERVER_KEY,
            why: "expected the DERP magic",
        });
    }
    Ok(rest.first_chunk())
}

fn read_packet(kind: u8, body: &[u8]) -> Result<Option<(&Key, &[u8])>, DerpError> {
    let Some((key, packet)) = body.split_first_chunk() else {
        return Ok(None);
    };
    within_packet_limit(kind, packet)?;
    Ok(Some((key, packet)))
}

fn read_forward(body: &[u8]) -> Result<Option<Frame<'_>>, DerpError> {
    let Some((from, rest)) = body.split_first_chunk() else {
        return Ok(None);
    };
    Ok(
        read_packet(kind::FORWARD_PACKET, rest)?.map(|(to, packet)| Frame::ForwardPacket {
            from,
            to,
            packet,
        }),
    )
}

fn read_peer_present(body: &[u8]) -> Option<Frame<'_>> {
    let (peer, rest) = body.split_first_chunk()?;
    let address = rest.first_chunk().and_then(read_address);
    Some(Frame::PeerPresent {
        peer,
        address,
        flags: rest.get(18).copied().unwrap_or(0),
    })
}

fn read_address(bytes: &[u8; 18]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_first_chunk::<16>()?;
    let ip = Ipv6Addr::from(*ip);
    if ip.is_unspecified() {
        return None;
    }
    let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
    Some(SocketAddr::new(ip, u16::from_be_bytes([port[0], port[1]])))
}

fn read_restarting(body: &[u8]) -> Option<Frame<'_>> {
    let (reconnect_in, rest) = body.split_first_chunk()?;
    let try_for = rest.first_chunk()?;
    Some(Frame::Restarting {
        reconnect_in: u32::from_be_bytes(*reconnect_in),
        try_for: u32::from_be_bytes(*try_for),
    })
}
