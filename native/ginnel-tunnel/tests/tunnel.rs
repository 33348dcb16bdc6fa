//! Two tunnels with nothing but vectors between them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use ginnel_tunnel::{
    Admission, Event, Handshake, Identity, Refusal, STAGED_MAX, Tunnel, TunnelError, pad,
};
use proptest::prelude::*;
use x25519_dalek::{PublicKey, StaticSecret};

const ALICE: [u8; 32] = [0x11; 32];
const BOB: [u8; 32] = [0x22; 32];

struct End {
    identity: Identity,
    tunnel: Tunnel,
    address: SocketAddr,
}

fn public(private: [u8; 32]) -> [u8; 32] {
    PublicKey::from(&StaticSecret::from(private)).to_bytes()
}

fn ends(now: Instant) -> (End, End) {
    let end = |own, other, port| {
        let identity = Identity::new(own, now);
        End {
            tunnel: Tunnel::new(&identity, public(other), now).unwrap(),
            identity,
            address: ([127, 0, 0, 1], port).into(),
        }
    };
    (end(ALICE, BOB, 1), end(BOB, ALICE, 2))
}

/// What one message brought: packets for the host, the event, messages to send back.
type Outcome = Result<(Option<BytesMut>, Event, Vec<BytesMut>), String>;

impl End {
    fn seal(&mut self, packet: &[u8], now: Instant) -> Vec<BytesMut> {
        let mut out = Vec::new();
        self.tunnel.seal(BytesMut::from(packet), now, &mut out);
        out
    }

    fn take(&mut self, message: &[u8], now: Instant) -> Outcome {
        let mut out = Vec::new();
        if message.first() == Some(&4) {
            let opened = self.tunnel.open(BytesMut::from(message), now, &mut out);
            let (packet, event) = opened.map_err(|e| e.to_string())?;
            return Ok((Some(packet), event, out));
        }
        match self
            .identity
            .admit(self.address, BytesMut::from(message), now)
        {
            Admission::Pass(handshake) => {
                let event = self.tunnel.handshake(handshake, now, &mut out);
                Ok((None, event.map_err(|e| e.to_string())?, out))
            }
            Admission::Reply(reply) => Ok((None, Event::None, vec![reply])),
            Admission::Refuse(refusal) => Err(format!("{refusal:?}")),
        }
    }
}

/// Carry messages back and forth until both are silent. Returns what each host got.
fn settle(
    a: &mut End,
    b: &mut End,
    mut to_b: Vec<BytesMut>,
    now: Instant,
) -> (Vec<BytesMut>, Vec<BytesMut>) {
    let (mut got_a, mut got_b) = (Vec::new(), Vec::new());
    let mut to_a: Vec<BytesMut> = Vec::new();
    while !to_a.is_empty() || !to_b.is_empty() {
        for message in std::mem::take(&mut to_b) {
            let (packet, _, back) = b.take(&message, now).unwrap();
            got_b.extend(packet.filter(|packet| !packet.is_empty()));
            to_a.extend(back);
        }
        for message in std::mem::take(&mut to_a) {
            let (packet, _, back) = a.take(&message, now).unwrap();
            got_a.extend(packet.filter(|packet| !packet.is_empty()));
            to_b.extend(back);
        }
    }
    (got_a, got_b)
}

fn connected(now: Instant) -> (End, End) {
    let (mut a, mut b) = ends(now);
    let first = a.seal(b"first", now);
    assert_eq!(settle(&mut a, &mut b, first, now).1, [&b"first"[..]]);
    (a, b)
}

#[test]
fn packets_that_wait_arrive_in_order_once_there_are_keys() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    let initiation = a.seal(b"one", now);
    assert_eq!(initiation.len(), 1);
    assert_eq!(initiation[0].len(), 148);
    assert!(a.seal(b"two", now).is_empty(), "one handshake at a time");
    let (_, got) = settle(&mut a, &mut b, initiation, now);
    assert_eq!(got, [&b"one"[..], &b"two"[..]]);
}

#[test]
fn both_directions_carry_data() {
    let now = Instant::now();
    let (mut a, mut b) = connected(now);
    let answer = b.seal(b"back", now);
    assert_eq!(answer.len(), 1);
    assert_eq!(a.take(&answer[0], now).unwrap().0.unwrap(), &b"back"[..]);
}

#[test]
fn the_responder_sends_no_data_before_it_has_heard_some() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    let initiation = a.seal(b"hello", now);
    let (_, event, response) = b.take(&initiation[0], now).unwrap();
    assert_eq!((event, response.len()), (Event::None, 1));
    assert!(b.seal(b"too early", now).is_empty());
    let (_, event, confirmation) = a.take(&response[0], now).unwrap();
    assert_eq!((event, confirmation.len()), (Event::Keypair, 2));
    let (_, event, released) = b.take(&confirmation[0], now).unwrap();
    assert_eq!((event, released.len()), (Event::Keypair, 1));
    assert_eq!(
        a.take(&released[0], now).unwrap().0.unwrap(),
        &b"too early"[..]
    );
}

#[test]
fn both_may_begin_at_once() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    let from_a = a.seal(b"from a", now);
    let from_b = b.seal(b"from b", now);
    let (_, _, response_b) = b.take(&from_a[0], now).unwrap();
    let (_, _, response_a) = a.take(&from_b[0], now).unwrap();
    let (_, _, data_a) = a.take(&response_b[0], now).unwrap();
    let (_, _, data_b) = b.take(&response_a[0], now).unwrap();
    let packets = |end: &mut End, messages: Vec<BytesMut>| -> Vec<BytesMut> {
        let opened = messages
            .iter()
            .map(|m| end.take(m, now).unwrap().0.unwrap());
        opened.filter(|packet| !packet.is_empty()).collect()
    };
    assert_eq!(packets(&mut b, data_a), [&b"from a"[..]]);
    assert_eq!(packets(&mut a, data_b), [&b"from b"[..]]);
}

#[test]
fn a_replay_in_any_state_changes_nothing() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    let initiation = a.seal(b"x", now);
    let (_, _, response) = b.take(&initiation[0], now).unwrap();
    let later = now + Duration::from_millis(100);
    assert_eq!(
        b.take(&initiation[0], later).unwrap_err(),
        "initiation is a repeat"
    );
    let (_, _, data) = a.take(&response[0], now).unwrap();
    assert!(a.take(&response[0], now).is_err());
    for message in &data {
        b.take(message, now).unwrap();
        assert_eq!(b.take(message, now).unwrap_err(), "replayed or too old");
    }
    let answer = b.seal(b"y", now);
    assert_eq!(a.take(&answer[0], now).unwrap().0.unwrap(), &b"y"[..]);
}

#[test]
fn the_window_takes_what_is_8000_late_and_not_what_is_9000_late() {
    let now = Instant::now();
    let (mut a, mut b) = connected(now);
    let messages: Vec<BytesMut> = (0..9001).map(|_| a.seal(b"", now).remove(0)).collect();
    b.take(messages.last().unwrap(), now).unwrap();
    b.take(&messages[1000], now).unwrap();
    assert_eq!(
        b.take(&messages[0], now).unwrap_err(),
        "replayed or too old"
    );
}

#[test]
fn a_changed_message_is_not_authentic_and_harms_nothing() {
    let now = Instant::now();
    let (mut a, mut b) = connected(now);
    let message = a.seal(b"data", now).remove(0);
    for at in [8, 16, message.len() - 1] {
        let mut forged = message.clone();
        forged[at] ^= 1;
        assert!(b.take(&forged, now).is_err(), "byte {at}");
    }
    assert_eq!(b.take(&message, now).unwrap().0.unwrap(), &b"data"[..]);
}

#[test]
fn after_a_reset_the_next_packet_starts_a_handshake_that_is_accepted() {
    let now = Instant::now();
    let (mut a, mut b) = connected(now);
    a.tunnel.reset();
    assert!(!a.tunnel.has_keypair());
    let later = now + Duration::from_millis(50);
    let initiation = a.seal(b"again", later);
    assert_eq!(initiation[0].len(), 148);
    assert_eq!(settle(&mut a, &mut b, initiation, later).1, [&b"again"[..]]);
}

#[test]
fn a_restarted_peer_is_sent_an_initiation_at_once_and_again_until_it_answers() {
    let now = Instant::now();
    let (mut a, _) = connected(now);
    let mut out = Vec::new();
    a.tunnel.restart(now, &mut out);
    assert_eq!((out.len(), out[0][0]), (1, 1));
    assert!(a.seal(b"waits", now).is_empty());
    let repeats = |a: &mut End, ms| {
        let mut out = Vec::new();
        a.tunnel.tick(now + Duration::from_millis(ms), &mut out);
        out
    };
    assert!(repeats(&mut a, 400).is_empty());
    assert_eq!(repeats(&mut a, 500).len(), 1);
    assert!(repeats(&mut a, 750).is_empty());
    assert_eq!(repeats(&mut a, 1000).len(), 1);
    let last = repeats(&mut a, 2000);
    let (_, mut again) = ends(now);
    let (_, got) = settle(&mut a, &mut again, last, now);
    assert_eq!(got, [&b"waits"[..]], "the new process gets what waited");
    assert!(repeats(&mut a, 2500).is_empty());
    assert!(repeats(&mut a, 4000).is_empty());
}

#[test]
fn a_lost_first_initiation_is_repeated_soon_three_times() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    a.seal(b"waits", now);
    let mut repeats = Vec::new();
    for ms in (0..4500).step_by(250) {
        let mut out = Vec::new();
        a.tunnel.tick(now + Duration::from_millis(ms), &mut out);
        repeats.extend(out.into_iter().map(|message| (ms, message)));
    }
    let times: Vec<u64> = repeats.iter().map(|(ms, _)| *ms).collect();
    assert_eq!(times, [500, 1000, 2000]);
    let last = vec![repeats.pop().unwrap().1];
    assert_eq!(settle(&mut a, &mut b, last, now).1, [&b"waits"[..]]);
}

/// Messages that `end` sends for a packet every 200 ms, `(ms, kind)`, of which nothing arrives.
fn into_the_void(end: &mut End, start: Instant, until_ms: u64) -> Vec<(u64, u8)> {
    (0..=until_ms)
        .step_by(200)
        .flat_map(|ms| {
            let sent = end.seal(b"anybody?", start + Duration::from_millis(ms));
            sent.into_iter().map(move |message| (ms, message[0]))
        })
        .filter(|(_, kind)| *kind == 1)
        .collect()
}

#[test]
fn a_session_that_the_peer_has_forgotten_is_replaced_within_a_second() {
    let now = Instant::now();
    let (mut a, mut b) = connected(now);
    let answer = b.seal(b"back", now);
    a.take(&answer[0], now).unwrap();
    b.tunnel.reset();
    assert_eq!(
        into_the_void(&mut a, now, 9000),
        [(1000, 1), (2000, 1), (4000, 1)]
    );
    let later = now + Duration::from_millis(9100);
    let mut out = Vec::new();
    a.tunnel.retry(later, &mut out);
    settle(&mut a, &mut b, out, later);
    let data = a.seal(b"again", later);
    assert_eq!(b.take(&data[0], later).unwrap().0.unwrap(), &b"again"[..]);
}

#[test]
fn the_last_words_of_a_conversation_need_no_answer() {
    let now = Instant::now();
    let (mut a, mut b) = connected(now);
    let answer = b.seal(b"back", now);
    a.take(&answer[0], now).unwrap();
    assert_eq!(a.seal(b"thanks", now).len(), 1);
    let mut out = Vec::new();
    for ms in (0..9000).step_by(250) {
        a.tunnel.tick(now + Duration::from_millis(ms), &mut out);
    }
    assert!(out.is_empty());
}

#[test]
fn a_peer_that_only_listens_is_not_asked_more() {
    let now = Instant::now();
    let (mut a, mut b) = connected(now);
    let mut keepalive = Vec::new();
    b.tunnel.seal(BytesMut::new(), now, &mut keepalive);
    a.take(&keepalive[0], now).unwrap();
    assert!(into_the_void(&mut a, now + Duration::from_secs(1), 9000).is_empty());
}

#[test]
fn a_restart_of_a_peer_without_a_session_sends_nothing() {
    let now = Instant::now();
    let (mut a, _) = ends(now);
    let mut out = Vec::new();
    a.tunnel.restart(now, &mut out);
    a.tunnel.tick(now + Duration::from_millis(600), &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_restart_replaces_a_session_that_the_peer_s_new_process_has_not_used_yet() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    let initiation = b.seal(b"hello", now);
    let (_, _, response) = a.take(&initiation[0], now).unwrap();
    let mut out = Vec::new();
    a.tunnel.restart(now, &mut out);
    assert_eq!(out.len(), 1);
    // The answer to what was asked before crosses our initiation: both ends agree in the end.
    let (_, _, confirmation) = b.take(&response[0], now).unwrap();
    assert!(a.take(&confirmation[0], now).is_err());
    let later = now + Duration::from_millis(50);
    settle(&mut a, &mut b, out, later);
    let data = b.seal(b"again", later);
    assert_eq!(a.take(&data[0], later).unwrap().0.unwrap(), &b"again"[..]);
}

#[test]
fn a_retry_repeats_the_initiation_and_it_is_newer() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    let lost = a.seal(b"x", now);
    let mut again = Vec::new();
    a.tunnel.retry(now, &mut again);
    assert_eq!(again.len(), 1);
    assert_ne!(lost, again);
    assert_eq!(settle(&mut a, &mut b, again, now).1, [&b"x"[..]]);
}

#[test]
fn the_oldest_waiting_packet_gives_way() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    let initiation = a.seal(&[0, 0], now);
    let dropped: usize = (1..STAGED_MAX as u16 + 3)
        .map(|n| {
            a.tunnel
                .seal(BytesMut::from(&n.to_be_bytes()[..]), now, &mut Vec::new())
        })
        .sum();
    assert_eq!(dropped, 3);
    let (_, got) = settle(&mut a, &mut b, initiation, now);
    assert_eq!((got.len(), &got[0][..]), (STAGED_MAX, &[0, 3][..]));
}

#[test]
fn initiations_of_one_peer_come_at_least_20_ms_apart() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    let first = a.seal(b"x", now);
    b.take(&first[0], now).unwrap();
    let mut second = Vec::new();
    a.tunnel.retry(now, &mut second);
    let soon = now + Duration::from_millis(19);
    assert_eq!(
        b.take(&second[0], soon).unwrap_err(),
        "initiation is a repeat"
    );
    assert!(b.take(&second[0], now + Duration::from_millis(20)).is_ok());
}

#[test]
fn a_wrong_mac_is_refused_before_any_arithmetic() {
    let now = Instant::now();
    let (mut a, b) = ends(now);
    let mut message = a.seal(b"x", now).remove(0);
    message[116] ^= 1;
    assert!(matches!(
        b.identity.admit(a.address, message, now),
        Admission::Refuse(Refusal::Mac)
    ));
}

#[test]
fn under_load_only_a_cookie_of_the_same_address_passes() {
    let now = Instant::now();
    let (mut a, mut b) = ends(now);
    let flood = a.seal(b"x", now).remove(0);
    // Each from an address of its own: what counts is the sum.
    for port in 0..=200u16 {
        let source = ([10, 0, (port >> 8) as u8, port as u8], port).into();
        b.identity.admit(source, flood.clone(), now);
    }
    let Admission::Reply(cookie) = b.identity.admit(a.address, flood, now) else {
        panic!("no cookie is asked for");
    };
    assert_eq!(cookie.len(), 64);
    a.take(&cookie, now).unwrap();
    let mut again = Vec::new();
    a.tunnel.retry(now, &mut again);
    let elsewhere = ([127, 0, 0, 2], 1).into();
    assert!(matches!(
        b.identity.admit(elsewhere, again[0].clone(), now),
        Admission::Reply(_)
    ));
    let Admission::Pass(handshake) = b.identity.admit(a.address, again[0].clone(), now) else {
        panic!("the cookie is not accepted");
    };
    assert!(matches!(&handshake, Handshake::Initiation(key, _) if *key == public(ALICE)));
    b.tunnel.handshake(handshake, now, &mut Vec::new()).unwrap();
    let calm = now + Duration::from_secs(2);
    let mut third = Vec::new();
    a.tunnel.retry(calm, &mut third);
    b.identity
        .admit(elsewhere, third[0].clone(), calm + Duration::from_secs(2));
    assert!(matches!(
        b.identity
            .admit(elsewhere, third[0].clone(), calm + Duration::from_secs(4)),
        Admission::Pass(_)
    ));
}

#[test]
fn a_peer_key_of_low_order_is_refused() {
    let now = Instant::now();
    let identity = Identity::new(ALICE, now);
    let refused = Tunnel::new(&identity, [0; 32], now);
    assert_eq!(refused.err(), Some(TunnelError::LowOrder));
}

#[test]
fn padding_reaches_a_multiple_of_16_and_never_the_mtu() {
    for (len, padded) in [
        (0, 0),
        (1, 16),
        (16, 16),
        (1270, 1275),
        (1275, 1275),
        (1300, 1300),
    ] {
        let mut packet = BytesMut::zeroed(len);
        pad(&mut packet, 1275);
        assert_eq!(packet.len(), padded, "{len}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_message_is_taken_or_refused(bytes: Vec<u8>, kind in 0u8..6, size in prop::sample::select(vec![0usize, 32, 64, 92, 148, 300])) {
        let now = Instant::now();
        let (_, mut b) = ends(now);
        let mut message = vec![kind, 0, 0, 0];
        message.extend(bytes);
        message.resize(size.max(4), 0);
        let _ = b.take(&message, now);
    }

    #[test]
    fn any_packet_comes_out_as_it_went_in(packets in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..2000), 1..20)) {
        let now = Instant::now();
        let (mut a, mut b) = connected(now);
        for packet in packets {
            let message = a.seal(&packet, now).remove(0);
            prop_assert_eq!(message.len(), packet.len() + 32);
            prop_assert_eq!(&b.take(&message, now).unwrap().0.unwrap()[..], &packet[..]);
        }
    }
}
