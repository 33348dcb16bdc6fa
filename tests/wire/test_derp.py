"""DERP frames and logins: captured bytes, any pieces, any type byte, each limit one over."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import derp, derplogin
from ginnel.wire.read import Malformed, WireError
from ginnel.words import Endpoint, NodeKey, NodePrivate

VECTORS = Path(__file__).parent.parent / "vectors"
FRAMES = json.loads((VECTORS / "data/derp_frames.json").read_text())
LOGINS = json.loads((VECTORS / "data/derp_handshake.json").read_text())
TSNET = json.loads((VECTORS / "control/derp_stun.json").read_text())
ALICE = NodePrivate(bytes([0]) + bytes([1]) * 30 + bytes([0x41]))
BOB = NodePrivate(bytes([0]) + bytes([2]) * 30 + bytes([0x42]))
NONCE = bytes(range(24))

keys = st.binary(min_size=32, max_size=32).map(NodeKey)
packets = st.binary(max_size=300)
eight = st.binary(min_size=8, max_size=8)
u8 = st.integers(0, 255)
u32 = st.integers(0, 2**32 - 1)
endpoints = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 0xFFFF))
nonces = st.binary(min_size=24, max_size=24)
messages = st.one_of(
    st.builds(derp.ServerKey, keys),
    st.builds(derp.ClientInfo, keys, nonces, packets),
    st.builds(derp.ServerInfo, nonces, packets),
    st.builds(derp.SendPacket, keys, packets),
    st.builds(derp.RecvPacket, keys, packets),
    st.just(derp.KeepAlive()),
    st.builds(derp.NotePreferred, st.booleans()),
    st.builds(derp.PeerGone, keys, u8),
    st.builds(derp.PeerPresent, keys, endpoints, u8),
    st.builds(derp.PeerPresent, keys),
    st.builds(derp.ForwardPacket, keys, keys, packets),
    st.just(derp.WatchConns()),
    st.builds(derp.ClosePeer, keys),
    st.builds(derp.Ping, eight),
    st.builds(derp.Pong, eight),
    st.builds(derp.Health, st.text(max_size=50)),
    st.builds(derp.Restarting, u32, u32),
)


def only(stream):
    [(kind, body)] = derp.FrameReader().feed(stream)
    return derp.parse(kind, body)


def key(name, source=FRAMES):
    return NodeKey(bytes.fromhex(source["keys"][name]["public"]))


@given(st.lists(messages, max_size=5), st.data())
def test_messages_survive_any_chunking(sent, data):
    stream = b"".join(map(derp.frame, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = derp.FrameReader()
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [derp.parse(*frame) for piece in pieces for frame in reader.feed(piece)] == sent


@pytest.mark.parametrize("body", [b"", b"\0", bytes(8), bytes(33), bytes(200), bytes(70_000)], ids=len)
def test_every_type_byte_is_read_skipped_or_refused(body):
    known = {*range(1, 0x0B), *range(0x10, 0x16)}
    for kind in range(256):
        with suppress(WireError):
            assert (derp.parse(kind, body) is None) == (kind not in known)


@given(st.binary(max_size=300))
def test_any_bytes_are_frames_or_refused(data):
    with suppress(WireError):
        for frame in derp.FrameReader().feed(data):
            derp.parse(*frame)


@pytest.mark.parametrize("packet", FRAMES["packets"], ids=lambda p: p["send_packet_frame"][2:20])
def test_agrees_with_captured_packets(packet):
    sent, received = bytes.fromhex(packet["send_packet_frame"]), bytes.fromhex(packet["recv_packet_frame"])
    message = only(sent)
    assert message.destination == key(packet["dst"])
    assert len(message.packet) == packet["payload_len"]
    assert derp.frame(message) == sent
    assert only(received) == derp.RecvPacket(key(packet["src"]), message.packet)
    assert derp.frame(only(received)) == received


@pytest.mark.parametrize("captured", FRAMES["other_frames"], ids=lambda f: f["name"][:20])
def test_agrees_with_other_captured_frames(captured):
    assert derp.frame(only(bytes.fromhex(captured["frame"]))).hex() == captured["frame"]


@pytest.mark.parametrize("captured", TSNET["frames_from_clients"], ids=lambda f: f["frame_hex"][:12])
def test_agrees_with_frames_of_an_older_client(captured):
    assert derp.frame(only(bytes.fromhex(captured["frame_hex"]))).hex() == captured["frame_hex"]


@pytest.mark.parametrize("login", LOGINS["handshakes"], ids=lambda h: h["client"] + h["client_info_nonce"][:4])
def test_agrees_with_captured_logins(login):
    relay_public = key("derp_server", LOGINS)
    relay = NodePrivate(bytes.fromhex(LOGINS["keys"]["derp_server"]["private"]))
    assert only(bytes.fromhex(login["server_key_frame"])) == derp.ServerKey(relay_public)
    info = only(bytes.fromhex(login["client_info_frame"]))
    assert info.key == key(login["client"], LOGINS)
    introduction = derplogin.open_client_info(relay, info)
    assert json.loads(login["client_info_json"]) == json.loads(derplogin.encode(introduction))
    answer = only(bytes.fromhex(login["server_info_frame"]))
    private = LOGINS["keys"][login["client"]].get("private")
    if private:
        client = NodePrivate(bytes.fromhex(private))
        terms = derplogin.open_server_info(client, relay_public, answer)
        assert terms == derplogin.Terms(version=2)
        assert derplogin.seal_server_info(relay, info.key, terms, answer.nonce) == answer
        assert derplogin.seal_client_info(client, relay_public, introduction, info.nonce) == info


def test_writes_the_known_client_info():
    info = derplogin.seal_client_info(ALICE, BOB.public(), derplogin.introduction(), NONCE)
    box = "3886897e2cda6c0d8dc4ad5c4b74ca7f99edf5a6e8428f59d77442f5e0be4499b5921f8df3dea51572626156526589c1"
    assert derp.frame(info) == b"\2\0\0\0\x68" + ALICE.public().raw + NONCE + bytes.fromhex(box)


def test_a_login_with_anothers_key_does_not_open():
    info = derplogin.seal_client_info(ALICE, BOB.public(), derplogin.introduction(), NONCE)
    with pytest.raises(Malformed):
        derplogin.open_client_info(BOB, derp.ClientInfo(BOB.public(), info.nonce, info.sealed))
    with pytest.raises(Malformed):
        derplogin.open_client_info(BOB, derp.ClientInfo(info.key, info.nonce, b""))


@pytest.mark.parametrize("point", [bytes(32), bytes([1]) + bytes(31)])
def test_low_order_keys_are_refused(point):
    with pytest.raises(WireError):
        derplogin.seal_client_info(ALICE, NodeKey(point), derplogin.introduction(), NONCE)
    with pytest.raises(WireError):
        derplogin.open_client_info(BOB, derp.ClientInfo(NodeKey(point), NONCE, bytes(40)))


def test_member_names_of_an_introduction_fold_case_and_the_mesh_key_stays_hidden():
    sealed = derplogin._seal(b'{"VERSION":2,"canackpings":true,"MeshKey":"abcd","x":1}', NONCE, BOB.public(), ALICE)
    introduction = derplogin.open_client_info(BOB, derp.ClientInfo(ALICE.public(), NONCE, sealed))
    assert (introduction.version, introduction.can_ack_pings, introduction.mesh_key) == (2, True, "abcd")
    assert "abcd" not in repr(introduction)


def test_older_relays_leave_out_reason_address_and_flags():
    peer, seen = ALICE.public(), Endpoint.parse("192.0.2.1:5")
    assert derp.parse(0x08, peer.raw) == derp.PeerGone(peer, derp.DISCONNECTED)
    assert derp.parse(0x09, peer.raw) == derp.PeerPresent(peer)
    full = derp.PeerPresent(peer, seen, derp.REGULAR).body()
    assert derp.parse(0x09, full[:-1]) == derp.PeerPresent(peer, seen, 0)


def test_bytes_after_what_a_frame_needs_are_skipped():
    assert derp.parse(0x01, derp.ServerKey(ALICE.public()).body() + b"more") == derp.ServerKey(ALICE.public())
    assert derp.parse(0x12, bytes(1000)) == derp.Ping(bytes(8))


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        (0x07, b""),
        (0x07, b"\1\1"),
        (0x12, bytes(7)),
        (0x12, bytes(1001)),
        (0x04, bytes(32 + 65_537)),
        (0x05, bytes(32 + 65_537)),
        (0x0A, bytes(64 + 65_537)),
        (0x01, bytes(40)),
    ],
)
def test_frames_one_over_or_under_are_refused(kind, body):
    with pytest.raises(WireError):
        derp.parse(kind, body)


def test_a_packet_of_64_kib_passes():
    assert len(derp.parse(0x04, bytes(32 + 65_536)).packet) == 65_536


def test_a_frame_over_the_limit_is_refused_by_its_header_alone():
    assert list(derp.FrameReader(100).feed(b"\xee\0\0\0\x64")) == []
    with pytest.raises(Malformed):
        list(derp.FrameReader(100).feed(b"\xee\0\0\0\x65"))


def test_the_upgrade_request_is_what_real_clients_send_but_for_the_name():
    ours = derplogin.upgrade_request("127.0.0.1", fast_start=True).decode().split("\r\n")
    theirs = TSNET["http_request_text"].replace("Go-http-client/1.1", "ginnel").split("\r\n")
    assert sorted(ours) == sorted(theirs)


def test_a_host_name_cannot_add_a_header():
    with pytest.raises(ValueError, match="printable"):
        derplogin.upgrade_request("relay\r\nX: y")


ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: derp\r\nConnection: Upgrade\r\n\r\n"


def test_what_follows_the_answers_head_belongs_to_derp():
    for size in range(len(ACCEPTED)):
        assert derplogin.read_upgrade_answer(ACCEPTED[:size]) is None
    assert derplogin.read_upgrade_answer(ACCEPTED + b"\1\0") == b"\1\0"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 426 Upgrade Required\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"nonsense\r\n\r\n",
        b"a" * (derplogin.HEAD_LIMIT + 1),
    ],
)
def test_another_answer_is_a_refusal(answer):
    with pytest.raises(Malformed):
        derplogin.read_upgrade_answer(answer)


@given(st.binary(max_size=100))
def test_any_answer_is_read_or_refused(data):
    for answer in (data, data + b"\r\n\r\n", b"HTTP/1.1 101 x\r\n" + data + b"\r\n\r\n"):
        with suppress(WireError):
            derplogin.read_upgrade_answer(answer)
