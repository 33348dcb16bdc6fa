//! Frames: captured ones, made-up ones, cut and random ones.

mod support;

use ginnel_derp::{
    DerpError, Frame, Inbox, Key, MAX_PACKET_SIZE, Rule, is_disco, kind, server_rule,
};
use proptest::collection::vec;
use proptest::prelude::*;
use support::{hex, key, unhex, vectors};

fn everything(_: u8) -> Rule {
    Rule {
        limit: 1 << 20,
        keep: true,
    }
}

fn decode_one(bytes: &[u8]) -> (u8, Vec<u8>) {
    let mut inbox = Inbox::new(everything, 1);
    inbox.push(bytes);
    let frame = inbox.next_frame().unwrap().unwrap();
    let found = (frame.kind, frame.body.to_vec());
    assert!(inbox.pending().is_empty());
    found
}

fn encoded(frame: &Frame<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    frame.encode(&mut out).unwrap();
    out
}

#[test]
fn captured_packets_read_and_write_to_the_same_bytes() {
    let file = vectors("derp_frames.json");
    for case in file["packets"].as_array().unwrap() {
        let node = |name: &str| key(&file["keys"][case[name].as_str().unwrap()]["public"]);
        let sent = unhex(&case["send_packet_frame"]);
        let (kind, body) = decode_one(&sent);
        let Frame::SendPacket { to, packet } = Frame::decode(kind, &body).unwrap() else {
            panic!("{kind}")
        };
        assert_eq!(*to, node("dst"));
        assert_eq!(packet.len() as u64, case["payload_len"].as_u64().unwrap());
        assert_eq!(is_disco(packet), case["kind"] == "disco");
        assert_eq!(encoded(&Frame::SendPacket { to, packet }), sent);
        let received = Frame::RecvPacket {
            from: &node("src"),
            packet,
        };
        assert_eq!(encoded(&received), unhex(&case["recv_packet_frame"]));
    }
}

#[test]
fn published_frames_have_their_bytes() {
    let echo = [0, 1, 2, 3, 4, 5, 6, 7];
    let peer: Key = [7; 32];
    let cases: [(Frame<'_>, &str); 6] = [
        (Frame::Ping(echo), "12000000080001020304050607"),
        (Frame::Pong(echo), "13000000080001020304050607"),
        (Frame::KeepAlive, "0600000000"),
        (Frame::NotePreferred(true), "070000000101"),
        (Frame::Health("no"), "14000000026e6f"),
        (
            Frame::Restarting {
                reconnect_in: 1,
                try_for: 0x0203,
            },
            "15000000080000000100000203",
        ),
    ];
    for (frame, bytes) in cases {
        assert_eq!(encoded(&frame), hex(bytes));
    }
    let gone = encoded(&Frame::PeerGone {
        peer: &peer,
        reason: 1,
    });
    assert_eq!(gone, hex(&format!("0800000021{}01", "07".repeat(32))));
}

#[test]
fn a_peer_gone_without_reason_means_disconnected() {
    let frame = Frame::decode(kind::PEER_GONE, &[7; 32]);
    assert_eq!(
        frame,
        Ok(Frame::PeerGone {
            peer: &[7; 32],
            reason: 0
        })
    );
}

#[test]
fn peer_present_is_read_in_its_three_lengths() {
    let peer: &Key = &[9; 32];
    let address = Some("203.0.113.7:41641".parse().unwrap());
    let full = encoded(&Frame::PeerPresent {
        peer,
        address,
        flags: 5,
    });
    let body = &full[5..];
    assert_eq!(body.len(), 51);
    assert_eq!(
        Frame::decode(9, body),
        Ok(Frame::PeerPresent {
            peer,
            address,
            flags: 5
        })
    );
    assert_eq!(
        Frame::decode(9, &body[..50]),
        Ok(Frame::PeerPresent {
            peer,
            address,
            flags: 0
        })
    );
    assert_eq!(
        Frame::decode(9, &body[..32]),
        Ok(Frame::PeerPresent {
            peer,
            address: None,
            flags: 0
        })
    );
}

#[test]
fn a_packet_one_byte_too_long_is_refused_both_ways() {
    let packet = vec![0; MAX_PACKET_SIZE + 1];
    let too_long = Frame::SendPacket {
        to: &[1; 32],
        packet: &packet,
    };
    let mut out = vec![42];
    assert!(matches!(
        too_long.encode(&mut out),
        Err(DerpError::TooLong { .. })
    ));
    assert_eq!(out, [42]);
    let body = [&[1; 32][..], &packet].concat();
    assert!(matches!(
        Frame::decode(kind::SEND_PACKET, &body),
        Err(DerpError::TooLong { .. })
    ));
    assert!(Frame::decode(kind::SEND_PACKET, &body[..body.len() - 1]).is_ok());
}

#[test]
fn a_preferred_note_of_another_length_is_refused() {
    for body in [&[][..], &[1, 1]] {
        let error = DerpError::BadLength {
            kind: kind::NOTE_PREFERRED,
            size: body.len(),
        };
        assert_eq!(Frame::decode(kind::NOTE_PREFERRED, body), Err(error));
    }
}

#[test]
fn a_server_refuses_a_frame_over_its_limit_by_the_header_alone() {
    for kind in [
        kind::SEND_PACKET,
        kind::CLIENT_INFO,
        kind::PING,
        kind::NOTE_PREFERRED,
    ] {
        let mut inbox = Inbox::new(server_rule, 1);
        let size = server_rule(kind).limit + 1;
        inbox.push(&[&[kind][..], &size.to_be_bytes()].concat());
        assert!(
            matches!(inbox.next_frame(), Err(DerpError::TooLong { .. })),
            "{kind}"
        );
    }
}

#[test]
fn an_unknown_frame_passes_by_without_being_kept() {
    let mut inbox = Inbox::new(server_rule, 1);
    let size: u32 = 10 << 20;
    inbox.push(&[&[0x99][..], &size.to_be_bytes()].concat());
    for _ in 0..10 {
        assert_eq!(inbox.next_frame(), Ok(None));
        inbox.push(&vec![0x99; 1 << 20]);
    }
    inbox.push(&hex("070000000101"));
    let frame = inbox.next_frame().unwrap().unwrap();
    assert_eq!((frame.kind, frame.body), (kind::NOTE_PREFERRED, &[1][..]));
    assert_eq!(inbox.skipped(), 1);
}

fn some_frame() -> impl Strategy<Value = (u8, Vec<u8>)> {
    (any::<u8>(), vec(any::<u8>(), 0..200))
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_frames(frames in vec(some_frame(), 0..12), cuts in vec(1usize..90, 1..40)) {
        let mut bytes = Vec::new();
        for (kind, body) in &frames {
            Frame::Unknown { kind: *kind, body }.encode(&mut bytes).unwrap();
        }
        let mut inbox = Inbox::new(everything, 7);
        let mut found = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            inbox.push(now);
            rest = later;
            while let Some(frame) = inbox.next_frame().unwrap() {
                found.push((frame.kind, frame.body.to_vec()));
            }
        }
        prop_assert_eq!(found, frames);
    }

    #[test]
    fn decode_then_encode_is_identity_but_for_the_future_s_bytes((kind, body) in some_frame()) {
        if let Ok(frame) = Frame::decode(kind, &body) {
            let again = encoded(&frame);
            let (kind_again, body_again) = decode_one(&again);
            prop_assert_eq!(kind_again, kind);
            prop_assert_eq!(Frame::decode(kind, &body_again), Ok(frame));
        }
    }

    #[test]
    fn a_frame_cut_short_is_never_read_as_whole(cut in 0usize..45) {
        let mut out = Vec::new();
        ginnel_derp::put_server_key(&mut out, &[3; 32]);
        let mut inbox = Inbox::new(everything, 1);
        inbox.push(&out[..cut]);
        prop_assert_eq!(inbox.next_frame(), Ok(None));
        prop_assert!(Frame::decode(kind::SERVER_KEY, &out[5..][..cut.saturating_sub(5)]).is_err());
    }
}

#[test]
fn every_type_of_every_size_is_a_frame_or_an_error() {
    for kind in 0..=255 {
        for size in [
            0, 1, 7, 8, 9, 31, 32, 33, 50, 51, 63, 64, 65, 1000, 1001, 65568, 65569, 65601,
        ] {
            let body = vec![kind; size];
            let _ = Frame::decode(kind, &body);
            let mut inbox = Inbox::new(server_rule, 1);
            inbox.push(&[&[kind][..], &(size as u32).to_be_bytes(), &body].concat());
            while let Ok(Some(_)) = inbox.next_frame() {}
        }
    }
}
