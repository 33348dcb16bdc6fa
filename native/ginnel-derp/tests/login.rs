//! The login of both sides, against captured bytes and against each other.

mod support;

use ginnel_derp::{
    Client, ClientInfo, Config, DerpError, Event, Frame, Inbox, Key, Secret, ServerInfo, kind,
    open_client_info, put_server_info, put_server_key, server_key_in_certificate, server_rule,
    upgrade_response,
};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use support::{hex, key, unhex, vectors};

fn secret(text: &Value) -> Secret {
    Secret::new(key(text))
}

fn node() -> Secret {
    Secret::new([0x11; 32])
}

fn relay() -> Secret {
    Secret::new([0x22; 32])
}

fn start(config: Config) -> (Client, Vec<u8>) {
    let mut out = Vec::new();
    let client = Client::start(config, &mut out);
    (client, out)
}

fn config(fast_start: Option<Key>) -> Config {
    let info = ClientInfo::node("");
    Config {
        secret: node(),
        nonce: [5; 24],
        host: "relay.example".into(),
        ideal_node: None,
        fast_start,
        info,
    }
}

fn feed(client: &mut Client, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let space = client.space();
        let now = bytes.len().min(space.len());
        space[..now].copy_from_slice(&bytes[..now]);
        client.filled(now);
        bytes = &bytes[now..];
    }
}

fn first_frame(bytes: &[u8]) -> (u8, Vec<u8>) {
    let mut inbox = Inbox::new(server_rule, 1);
    inbox.push(bytes);
    let frame = inbox.next_frame().unwrap().unwrap();
    (frame.kind, frame.body.to_vec())
}

#[test]
fn captured_logins_open_with_the_relay_s_key() {
    let file = vectors("derp_handshake.json");
    let relay = secret(&file["keys"]["derp_server"]["private"]);
    for case in file["handshakes"].as_array().unwrap() {
        let frame = unhex(&case["client_info_frame"]);
        let (client, info) = open_client_info(&relay, frame[0], &frame[5..]).unwrap();
        let claimed = &file["keys"][case["client"].as_str().unwrap()];
        assert_eq!(client, key(&claimed["public"]));
        let json: Value = serde_json::from_str(case["client_info_json"].as_str().unwrap()).unwrap();
        assert_eq!(info.version, 2);
        assert!(info.can_ack_pings && !info.is_prober && info.mesh_key.is_none());
        assert_eq!(info.app_name, json["AppName"].as_str().unwrap_or(""));
        let mut out = Vec::new();
        put_server_key(&mut out, &relay.public());
        assert_eq!(out, unhex(&case["server_key_frame"]));
        let nonce = unhex(&case["server_info_nonce"]).try_into().unwrap();
        out.clear();
        put_server_info(
            &mut out,
            &relay,
            &client,
            &nonce,
            ServerInfo {
                version: 2,
                ..Default::default()
            },
        );
        assert_eq!(out, unhex(&case["server_info_frame"]));
        if let Some(answer) = case["http_response_text"].as_str() {
            assert_eq!(upgrade_response(&relay.public()), answer);
        }
    }
}

#[test]
fn our_client_writes_the_captured_client_info_and_takes_the_answer() {
    let file = vectors("derp_handshake.json");
    for case in file["handshakes"].as_array().unwrap() {
        let relay = key(&file["keys"]["derp_server"]["public"]);
        let json: Value = serde_json::from_str(case["client_info_json"].as_str().unwrap()).unwrap();
        let fast = case["fast_start"].as_bool().unwrap();
        let (mut client, mut sent) = start(Config {
            secret: secret(&file["keys"][case["client"].as_str().unwrap()]["private"]),
            nonce: unhex(&case["client_info_nonce"]).try_into().unwrap(),
            host: "203.0.113.4".into(),
            ideal_node: None,
            fast_start: fast.then_some(relay),
            info: ClientInfo::node(json["AppName"].as_str().unwrap_or("")),
        });
        if !fast {
            feed(&mut client, upgrade_response(&relay).as_bytes());
        }
        feed(&mut client, &unhex(&case["server_key_frame"]));
        assert_eq!(client.next_event(&mut sent), Ok(None));
        let end = sent
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap()
            + 4;
        assert_eq!(
            sent[..end].windows(17).any(|w| w == b"Derp-Fast-Start: "),
            fast
        );
        assert_eq!(&sent[end..], unhex(&case["client_info_frame"]));
        feed(&mut client, &unhex(&case["server_info_frame"]));
        let info = ServerInfo {
            version: 2,
            ..Default::default()
        };
        assert_eq!(
            client.next_event(&mut sent),
            Ok(Some(Event::Ready {
                server: relay,
                info
            }))
        );
    }
}

#[test]
fn the_published_client_info_opens() {
    // Reference vector: a = 00 01*30 41 seals to b = 00 02*30 42 with nonce 00..17.
    let a: Key = hex(&format!("00{}41", "01".repeat(30))).try_into().unwrap();
    let b: Key = hex(&format!("00{}42", "02".repeat(30))).try_into().unwrap();
    let mut body = Secret::new(a).public().to_vec();
    body.extend(0..0x18);
    body.extend(hex(
        "3886897e2cda6c0d8dc4ad5c4b74ca7f99edf5a6e8428f59d77442f5e0be4499b5921f8df3dea51572626156526589c1",
    ));
    assert_eq!(body.len(), 0x68);
    let (client, info) = open_client_info(&Secret::new(b), kind::CLIENT_INFO, &body).unwrap();
    assert_eq!(
        (client, info),
        (Secret::new(a).public(), ClientInfo::node(""))
    );
}

#[test]
fn the_certificate_of_a_real_relay_tells_its_key() {
    let file = vectors("derp_tls_certs.json");
    assert_eq!(
        server_key_in_certificate(&unhex(&file["meta_der"])),
        Some(key(&file["derp_public"]))
    );
    assert_eq!(server_key_in_certificate(&unhex(&file["leaf_der"])), None);
}

#[test]
fn another_serial_number_is_another_protocol() {
    let mut der = unhex(&vectors("derp_tls_certs.json")["meta_der"]);
    let serial = der
        .windows(4)
        .position(|bytes| bytes == [2, 1, 2, 0x30])
        .unwrap(); // the algorithm follows
    der[serial + 2] = 3;
    assert_eq!(server_key_in_certificate(&der), None);
}

#[test]
fn a_box_of_another_key_is_refused() {
    let (_, sent) = start(config(Some(relay().public())));
    let end = sent
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .unwrap()
        + 4;
    let (kind, mut body) = first_frame(&sent[end..]);
    assert!(open_client_info(&relay(), kind, &body).is_ok());
    body[..32].copy_from_slice(&Secret::new([0x33; 32]).public());
    assert_eq!(
        open_client_info(&relay(), kind, &body),
        Err(DerpError::BadBox { what: "ClientInfo" })
    );
    body[..32].fill(0);
    assert_eq!(
        open_client_info(&relay(), kind, &body),
        Err(DerpError::BadBox { what: "ClientInfo" })
    );
}

#[test]
fn a_relay_that_is_not_the_one_of_its_certificate_is_refused() {
    let (mut client, mut sent) = start(config(Some([9; 32])));
    let mut bytes = Vec::new();
    put_server_key(&mut bytes, &relay().public());
    feed(&mut client, &bytes);
    assert_eq!(client.next_event(&mut sent), Err(DerpError::WrongServerKey));
}

#[test]
fn another_status_than_101_is_named() {
    for (answer, error) in [
        ("HTTP/1.1 503 Busy\r\n\r\n", DerpError::Refused(503)),
        ("SSH-2.0-OpenSSH_9\r\n\r\n", DerpError::NotHttp),
    ] {
        let (mut client, mut sent) = start(config(None));
        feed(&mut client, answer.as_bytes());
        assert_eq!(client.next_event(&mut sent), Err(error));
    }
    let (mut client, mut sent) = start(config(None));
    feed(&mut client, &[b'x'; 9000]);
    assert_eq!(client.next_event(&mut sent), Err(DerpError::NotHttp));
}

#[test]
fn a_host_name_cannot_add_a_header() {
    let evil = Config {
        host: "a\r\nX-Evil: 1".into(),
        ideal_node: Some("b\nY: 2".into()),
        ..config(None)
    };
    let (_, sent) = start(evil);
    let text = String::from_utf8(sent).unwrap();
    assert!(text.contains("Host: aX-Evil:1\r\n") && text.contains("Ideal-Node: bY:2\r\n"));
}

fn open_client() -> Client {
    let (mut client, mut sent) = start(config(Some(relay().public())));
    let mut bytes = Vec::new();
    put_server_key(&mut bytes, &relay().public());
    put_server_info(
        &mut bytes,
        &relay(),
        &node().public(),
        &[1; 24],
        ServerInfo {
            version: 2,
            ..Default::default()
        },
    );
    feed(&mut client, &bytes);
    assert!(matches!(
        client.next_event(&mut sent),
        Ok(Some(Event::Ready { .. }))
    ));
    client
}

#[test]
fn a_ping_is_answered_and_a_malformed_frame_is_survived() {
    let mut client = open_client();
    let mut bytes = hex("12000000080001020304050607");
    Frame::Unknown {
        kind: kind::PEER_GONE,
        body: &[1],
    }
    .encode(&mut bytes)
    .unwrap();
    Frame::Unknown {
        kind: 0xee,
        body: &[1; 99],
    }
    .encode(&mut bytes)
    .unwrap();
    Frame::RecvPacket {
        from: &[4; 32],
        packet: b"hello",
    }
    .encode(&mut bytes)
    .unwrap();
    feed(&mut client, &bytes);
    let mut out = Vec::new();
    assert_eq!(client.next_event(&mut out), Ok(Some(Event::Alive)));
    assert_eq!(out, hex("13000000080001020304050607"));
    assert_eq!(client.next_event(&mut out), Ok(Some(Event::Alive)));
    let packet = Event::Received {
        from: &[4; 32],
        packet: b"hello",
    };
    assert_eq!(client.next_event(&mut out), Ok(Some(packet)));
    assert_eq!(client.next_event(&mut out), Ok(None));
    assert_eq!(client.skipped(), 2);
}

#[test]
fn a_frame_above_one_mebibyte_ends_the_connection() {
    let mut client = open_client();
    feed(&mut client, &[0x99, 0, 0x10, 0, 1]);
    assert!(matches!(
        client.next_event(&mut Vec::new()),
        Err(DerpError::TooLong { .. })
    ));
}

proptest! {
    #[test]
    fn json_is_read_in_any_case_and_unknown_fields_are_ignored(
        app in "[ -~]{0,20}", acks: bool, prober: bool, mesh in proptest::option::of(any::<[u8; 32]>())
    ) {
        let mesh_hex = mesh.map(|key| key.iter().map(|byte| format!("{byte:02X}")).collect::<String>());
        let json = serde_json::json!({
            "VERSION": 2, "canackpings": acks, "isProber": prober, "appname": app, "MeshKey": mesh_hex, "New": {"a": [1]},
        });
        let sealed = seal(json.to_string().as_bytes());
        let (_, info) = open_client_info(&relay(), kind::CLIENT_INFO, &sealed).unwrap();
        let expected = ClientInfo {
            version: 2, mesh_key: mesh, can_ack_pings: acks, is_prober: prober, app_name: app,
        };
        prop_assert_eq!(info, expected);
    }

    #[test]
    fn any_box_content_is_an_info_or_an_error(text in vec(any::<u8>(), 0..80)) {
        let _ = open_client_info(&relay(), kind::CLIENT_INFO, &seal(&text));
    }

    #[test]
    fn any_stream_is_events_or_an_error(bytes in vec(any::<u8>(), 0..300), opened: bool) {
        let mut client = if opened { open_client() } else { start(config(Some(relay().public()))).0 };
        feed(&mut client, &bytes);
        while let Ok(Some(_)) = client.next_event(&mut Vec::new()) {}
    }

    #[test]
    fn any_certificate_bytes_are_survived(at in 0usize..355, byte: u8, cut in 0usize..355) {
        let mut der = unhex(&vectors("derp_tls_certs.json")["meta_der"]);
        der[at] = byte;
        let _ = server_key_in_certificate(&der);
        let _ = server_key_in_certificate(&der[..cut]);
    }
}

#[test]
fn a_mesh_key_of_another_length_is_refused() {
    for text in ["ab", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
        let sealed = seal(format!("{{\"meshKey\":\"{text}\"}}").as_bytes());
        let error = open_client_info(&relay(), kind::CLIENT_INFO, &sealed).unwrap_err();
        assert_eq!(
            error,
            DerpError::BadJson {
                what: "ClientInfo",
                why: "field meshKey".into()
            }
        );
    }
}

#[test]
fn keys_do_not_print() {
    let info = ClientInfo {
        mesh_key: Some([0xab; 32]),
        ..ClientInfo::node("x")
    };
    assert!(!format!("{info:?} {:?}", node()).contains("ab, "));
    assert!(!format!("{info:?}").contains("171"));
}

/// A ClientInfo body from `node` to `relay` with any JSON: sealed by the same library call as the client's own.
fn seal(json: &[u8]) -> Vec<u8> {
    use crypto_box::aead::Aead;
    let shared = crypto_box::SalsaBox::new(&relay().public().into(), &[0x11; 32].into());
    let nonce = [6; 24];
    let sealed = shared.encrypt(&nonce.into(), json).unwrap();
    [&node().public()[..], &nonce, &sealed].concat()
}
