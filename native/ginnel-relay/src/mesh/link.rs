//! What goes to one other relay: packets of many clients, bounded, in one write after another.

use ginnel_derp::{HEADER_SIZE, Key, forward_header, is_disco};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::config::{LINK_DISCO_SIZE, LINK_SIZE};
use crate::counters::{Counters, Packets};

const PACKET_AT: usize = HEADER_SIZE + 32;

/// One connection to another relay, from its login to its end.
#[derive(Default)]
pub(crate) struct Link {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Default)]
struct Waiting {
    disco: Vec<u8>,
    data: Vec<u8>,
    packets: Packets,
    closed: bool,
}

impl Link {
    /// Queue RecvPacket frames for a client of the other relay. What finds no room is dropped: whoever sent it is not
    /// slowed, as it may be sending to others besides.
    pub(crate) fn forward(&self, to: &Key, frames: &[u8], packets: Packets, counters: &Counters) {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return counters.gone.add(packets);
        }
        let was_empty = waiting.disco.is_empty() && waiting.data.is_empty();
        let mut rest = frames;
        while let Some((from, packet, behind)) = first_packet(rest) {
            rest = behind;
            let disco = is_disco(packet);
            let (queue, limit) = match disco {
                true => (&mut waiting.disco, LINK_DISCO_SIZE),
                false => (&mut waiting.data, LINK_SIZE),
            };
            if queue.len() + packet.len() > limit {
                counters.queue_tail.add(Packets::one(disco));
                continue;
            }
            queue.extend_from_slice(&forward_header(from, to, packet.len()));
            queue.extend_from_slice(packet);
            waiting.packets += Packets::one(disco);
        }
        drop(waiting);
        if was_empty {
            self.changed.notify_one();
        }
    }

    /// Wait for packets, and move them to `out`; gives how many they are.
    pub(crate) async fn take(&self, out: &mut Vec<u8>) -> Packets {
        loop {
            {
                let mut waiting = self.waiting.lock();
                out.append(&mut waiting.disco);
                if out.is_empty() {
                    std::mem::swap(out, &mut waiting.data);
                } else {
                    out.append(&mut waiting.data);
                }
                if !out.is_empty() {
                    return std::mem::take(&mut waiting.packets);
                }
            }
            self.changed.notified().await;
        }
    }

    /// Nothing more is taken; gives what was waiting.
    pub(crate) fn close(&self) -> Packets {
        let mut waiting = self.waiting.lock();
        let lost = waiting.packets;
        *waiting = Waiting {
            closed: true,
            ..Waiting::default()
        };
        lost
    }
}

/// Source and packet of the first frame, and what is behind it.
fn first_packet(frames: &[u8]) -> Option<(&Key, &[u8], &[u8])> {
    let head = frames.first_chunk::<HEADER_SIZE>()?;
    let size = HEADER_SIZE + u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let (frame, behind) = frames.split_at_checked(size)?;
    let from = frame.get(HEADER_SIZE..)?.first_chunk()?;
    Some((from, &frame[PACKET_AT..], behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ginnel_derp::{Frame, kind, put_packet};

    const ALICE: Key = [1; 32];
    const BOB: Key = [2; 32];

    fn frames(packets: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        for packet in packets {
            put_packet(&mut out, kind::RECV_PACKET, &ALICE, packet).unwrap();
        }
        out
    }

    #[test]
    fn a_packet_keeps_its_source_and_gets_its_destination() {
        let (link, counters) = (Link::default(), Counters::default());
        let two = Packets { all: 2, disco: 0 };
        link.forward(&BOB, &frames(&[b"one", b"two"]), two, &counters);
        let waiting = link.waiting.lock();
        let frame = &waiting.data[..waiting.data.len() / 2];
        let (kind, body) = (frame[0], &frame[HEADER_SIZE..]);
        let (from, to, packet) = (&ALICE, &BOB, &b"one"[..]);
        assert_eq!(
            Frame::decode(kind, body).unwrap(),
            Frame::ForwardPacket { from, to, packet }
        );
        assert_eq!(waiting.packets, two);
    }

    #[test]
    fn what_waits_is_bounded_and_disco_has_room_of_its_own() {
        let (link, counters) = (Link::default(), Counters::default());
        let packet = vec![0; 64 << 10];
        for _ in 0..100 {
            link.forward(&BOB, &frames(&[&packet]), Packets::one(false), &counters);
        }
        let mut disco = b"TS\xf0\x9f\x92\xac".to_vec();
        disco.resize(100, 0);
        link.forward(&BOB, &frames(&[&disco]), Packets::one(true), &counters);
        let lost = counters.queue_tail.other.get();
        assert!((100 - 16..100).contains(&lost), "{lost} of 100");
        assert_eq!(counters.queue_tail.disco.get(), 0);
        assert_eq!(link.close().all, 100 - lost + 1);
        link.forward(&BOB, &frames(&[b"late"]), Packets::one(false), &counters);
        assert_eq!(counters.gone.other.get(), 1);
    }
}
