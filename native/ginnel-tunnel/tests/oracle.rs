//! The same transcript on our tunnel and on another implementation: boringtun at the other end.
//!
//! Packets are lost, doubled and reordered at random. Whatever arrives must be what was sent, at most once; and after
//! the disorder both directions must work again.

use std::collections::VecDeque;
use std::time::Instant;

use boringtun::noise::{Tunn, TunnResult};
use bytes::BytesMut;
use ginnel_tunnel::{Admission, Identity, Tunnel};
use proptest::prelude::*;
use x25519_dalek::{PublicKey, StaticSecret};

const OURS: [u8; 32] = [0x31; 32];
const THEIRS: [u8; 32] = [0x32; 32];

#[derive(Clone, Copy, Debug)]
enum Step {
    WeSend(usize),
    TheySend(usize),
    ToThem(Fate),
    ToUs(Fate),
}

#[derive(Clone, Copy, Debug)]
enum Fate {
    Arrives,
    IsLost,
    ArrivesTwice,
    IsOvertaken,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        6 => Just(Fate::Arrives),
        1 => Just(Fate::IsLost),
        1 => Just(Fate::ArrivesTwice),
        1 => Just(Fate::IsOvertaken),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0usize..1200).prop_map(Step::WeSend),
        1 => (0usize..1200).prop_map(Step::TheySend),
        2 => fate().prop_map(Step::ToThem),
        2 => fate().prop_map(Step::ToUs),
    ]
}

struct World {
    identity: Identity,
    ours: Tunnel,
    theirs: Tunn,
    now: Instant,
    to_them: VecDeque<Vec<u8>>,
    to_us: VecDeque<Vec<u8>>,
    we_got: Vec<Vec<u8>>,
    they_got: Vec<Vec<u8>>,
    serial: u16,
}

/// An IPv4 packet that no other equals: boringtun reads its length.
fn packet(serial: u16, size: usize) -> Vec<u8> {
    let mut bytes = vec![0x45, 0, 0, 0];
    bytes[2..4].copy_from_slice(&(20 + size as u16).to_be_bytes());
    bytes.extend(serial.to_be_bytes());
    bytes.resize(20, 7);
    bytes.resize(20 + size, serial as u8);
    bytes
}

impl World {
    fn new() -> World {
        let now = Instant::now();
        let public = |private| PublicKey::from(&StaticSecret::from(private));
        let identity = Identity::new(OURS, now);
        World {
            ours: Tunnel::new(&identity, public(THEIRS).to_bytes(), now).unwrap(),
            identity,
            theirs: Tunn::new(THEIRS.into(), public(OURS), None, None, 1, None),
            now,
            to_them: VecDeque::new(),
            to_us: VecDeque::new(),
            we_got: Vec::new(),
            they_got: Vec::new(),
            serial: 0,
        }
    }

    fn next_packet(&mut self, size: usize) -> Vec<u8> {
        self.serial += 1;
        packet(self.serial, size)
    }

    fn we_send(&mut self, size: usize) -> Vec<u8> {
        let sent = self.next_packet(size);
        let mut padded = BytesMut::from(&sent[..]);
        ginnel_tunnel::pad(&mut padded, 1280);
        let mut out = Vec::new();
        self.ours.seal(padded, self.now, &mut out);
        self.to_them.extend(out.into_iter().map(|m| m.to_vec()));
        sent
    }

    fn they_send(&mut self, size: usize) -> Vec<u8> {
        let sent = self.next_packet(size);
        let mut buffer = vec![0; 2000];
        if let TunnResult::WriteToNetwork(message) = self.theirs.encapsulate(&sent, &mut buffer) {
            self.to_us.push_back(message.to_vec());
        }
        sent
    }

    fn they_take(&mut self, message: &[u8]) {
        let mut buffer = vec![0; 2000];
        let mut input = message;
        loop {
            match self.theirs.decapsulate(None, input, &mut buffer) {
                TunnResult::WriteToNetwork(message) => self.to_us.push_back(message.to_vec()),
                TunnResult::WriteToTunnelV4(packet, _) => {
                    self.they_got.push(packet.to_vec());
                    return;
                }
                _ => return,
            }
            input = &[]; // whatever it had queued
        }
    }

    fn we_take(&mut self, message: &[u8]) {
        let mut out = Vec::new();
        let message = BytesMut::from(message);
        if message[0] == 4 {
            if let Ok((packet, _)) = self.ours.open(message, self.now, &mut out)
                && let Ok(ip) = ginnel_wire::ip::parse(&packet)
            {
                self.we_got.push(packet[..ip.total_len].to_vec());
            }
        } else {
            let source = ([127, 0, 0, 1], 1).into();
            match self.identity.admit(source, message, self.now) {
                Admission::Pass(handshake) => {
                    let _ = self.ours.handshake(handshake, self.now, &mut out);
                }
                Admission::Reply(reply) => out.push(reply),
                Admission::Refuse(refusal) => panic!("{refusal:?}"),
            }
        }
        self.to_them.extend(out.into_iter().map(|m| m.to_vec()));
    }

    fn deliver(&mut self, to_us: bool, fate: Fate) {
        let queue = if to_us {
            &mut self.to_us
        } else {
            &mut self.to_them
        };
        let Some(message) = queue.pop_front() else {
            return;
        };
        let times = match fate {
            Fate::Arrives => 1,
            Fate::IsLost => 0,
            Fate::ArrivesTwice => 2,
            Fate::IsOvertaken => return queue.push_back(message),
        };
        for _ in 0..times {
            match to_us {
                true => self.we_take(&message),
                false => self.they_take(&message),
            }
        }
    }

    fn settle(&mut self) {
        while !self.to_us.is_empty() || !self.to_them.is_empty() {
            self.deliver(true, Fate::Arrives);
            self.deliver(false, Fate::Arrives);
        }
    }
}

fn no_more_than(got: &[Vec<u8>], sent: &[Vec<u8>]) -> bool {
    let mut left = sent.to_vec();
    got.iter().all(|packet| {
        let found = left.iter().position(|other| other == packet);
        found.map(|at| left.swap_remove(at)).is_some()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn whatever_is_lost_doubled_or_reordered_nothing_wrong_arrives(steps in prop::collection::vec(step(), 1..80)) {
        let mut world = World::new();
        let (mut we_sent, mut they_sent) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::WeSend(size) => we_sent.push(world.we_send(size)),
                Step::TheySend(size) => they_sent.push(world.they_send(size)),
                Step::ToThem(fate) => world.deliver(false, fate),
                Step::ToUs(fate) => world.deliver(true, fate),
            }
        }
        world.settle();
        // If the one handshake message was lost, it is asked for again.
        let mut again = Vec::new();
        world.now += std::time::Duration::from_millis(50);
        world.ours.retry(world.now, &mut again);
        world.to_them.extend(again.into_iter().map(|m| m.to_vec()));
        world.settle();
        prop_assert!(no_more_than(&world.they_got, &we_sent));
        prop_assert!(no_more_than(&world.we_got, &they_sent));
        if world.ours.has_keypair() {
            let last = world.we_send(100);
            world.settle();
            prop_assert!(world.they_got.contains(&last));
            let last = world.they_send(100);
            world.settle();
            prop_assert!(world.we_got.contains(&last));
        }
    }
}

#[test]
fn either_side_may_begin() {
    for we_begin in [true, false] {
        let mut world = World::new();
        let sent = if we_begin {
            world.we_send(5)
        } else {
            world.they_send(5)
        };
        world.settle();
        assert_eq!(
            if we_begin {
                &world.they_got
            } else {
                &world.we_got
            },
            &[sent]
        );
        let back = if we_begin {
            world.they_send(6)
        } else {
            world.we_send(6)
        };
        world.settle();
        assert_eq!(
            if we_begin {
                &world.we_got
            } else {
                &world.they_got
            },
            &[back]
        );
    }
}
