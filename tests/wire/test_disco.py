"""Disco messages: exact bytes, captured packets, tolerance for later versions, and boxes that do not open."""

import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import disco
from ginnel.wire.read import Truncated, WireError
from ginnel.words import DiscoKey, DiscoPrivate, Endpoint, NodeKey

CAPTURED = json.loads((Path(__file__).parent.parent / "vectors/data/disco.json").read_text())
ALICE = DiscoPrivate(bytes([0]) + bytes([1]) * 30 + bytes([0x41]))
BOB = DiscoPrivate(bytes([0]) + bytes([2]) * 30 + bytes([0x42]))
NONCE, TX = bytes(range(24)), bytes(range(12))
NODE = NodeKey(bytes([3]) * 32)
V4, V6 = Endpoint.parse("203.0.113.7:41641"), Endpoint.parse("[2001:db8::1]:41641")

keys = st.binary(min_size=32, max_size=32).map(DiscoKey)
pairs = st.tuples(keys, keys)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, 2**64 - 1)
tx_ids = st.binary(min_size=12, max_size=12)
endpoints = st.builds(Endpoint, st.ip_addresses(), st.integers(0, 0xFFFF))
some_endpoints = st.lists(endpoints, max_size=5).map(tuple)
relays = st.builds(disco.RelayEndpoint, keys, pairs, u64, u32, u64, u64, some_endpoints.filter(bool))
binds = [
    st.builds(kind, u32, u32, keys, st.binary(min_size=32, max_size=32))
    for kind in (disco.Bind, disco.BindChallenge, disco.BindAnswer)
]
messages = st.one_of(
    st.builds(disco.Ping, tx_ids, st.binary(min_size=32, max_size=32).map(NodeKey), st.integers(0, 1400)),
    st.builds(disco.Ping, tx_ids, st.none()),
    st.builds(disco.Pong, tx_ids, endpoints),
    st.builds(disco.CallMeMaybe, some_endpoints),
    *binds,
    st.builds(disco.CallMeMaybeVia, relays),
    st.builds(disco.AllocateRequest, pairs, u32),
    st.builds(disco.AllocateResponse, u32, relays),
)


@pytest.mark.parametrize(
    ("message", "box"),
    [
        (
            disco.Ping(TX, NODE),
            "4c9ca50bdd3250468cebbcb15acd044fe3cf83c29832e233bf5170cec69704fbd8d07fe5a0b4c871024358212313efbf"
            "c56ec68b5b9715d2b885de4bd7ab",
        ),
        (
            disco.Pong(TX, V4),
            "c87506e6b65ed2c2dce91b0ad45466ade0cf83c29832e233bf5170cec69707f8dbd37ce6a3b7cb72febf902251174e15",
        ),
        (
            disco.CallMeMaybe((V4, V6)),
            "e4be7ccefd575080e0a9d9f08009eb56e1cf83c39a31e636b95678c73363ccf8aad4de4f83b6c6ca01405b222010ecbc"
            "c66dc589fa3d",
        ),
    ],
    ids=["ping", "pong", "call-me-maybe"],
)
def test_writes_the_known_packets(message, box):
    packet = disco.DiscoBox(ALICE, BOB.public()).seal(message, NONCE)
    assert packet == disco.MAGIC + ALICE.public().raw + NONCE + bytes.fromhex(box)
    assert disco.DiscoBox(BOB, ALICE.public()).open(packet) == message
    assert len(packet) == disco.OVERHEAD + len(message.body()) == 80 + len(message.body())


def private(name):
    return DiscoPrivate(bytes.fromhex(CAPTURED["keys"][name]["private"]))


def expected(captured):
    tx_id = bytes.fromhex(captured.get("tx_id", ""))
    match captured["name"]:
        case "ping":
            return disco.Ping(tx_id, NodeKey(bytes.fromhex(captured["node_key"])), captured["padding"])
        case "pong":
            return disco.Pong(tx_id, Endpoint.parse(captured["observed"]))
    return disco.CallMeMaybe(tuple(map(Endpoint.parse, captured["endpoints"])))


@pytest.mark.parametrize("captured", CAPTURED["messages"], ids=lambda m: f"{m['name']}-{m['via']}-{m['nonce'][:4]}")
def test_agrees_with_captured_packets(captured):
    packet, sender, receiver = (
        bytes.fromhex(captured["packet"]),
        private(captured["sender"]),
        private(captured["receiver"]),
    )
    assert disco.is_disco(packet)
    assert disco.sender(packet) == sender.public()
    message = disco.DiscoBox(receiver, sender.public()).open(packet)
    assert message == expected(captured)
    assert disco.encode(message).hex() == captured["plain"]
    assert disco.DiscoBox(sender, receiver.public()).seal(message, bytes.fromhex(captured["nonce"])) == packet


@given(messages)
def test_a_message_reads_as_what_was_written(message):
    assert disco.decode(disco.encode(message)) == message


@given(messages)
def test_a_message_cut_anywhere_is_refused_or_smaller(message):
    whole = disco.encode(message)
    for size in range(len(whole)):
        with suppress(WireError):
            assert disco.decode(whole[:size]) != message


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_refused(payload):
    for data in (payload, *(bytes([kind]) + payload for kind in range(10))):
        with suppress(WireError):
            disco.decode(data)


@given(st.binary(max_size=300))
def test_any_packet_is_opened_or_refused(data):
    box = disco.DiscoBox(ALICE, BOB.public())
    for packet in (data, disco.MAGIC + data, disco.MAGIC + BOB.public().raw + data):
        with suppress(WireError):
            box.open(packet)
        assert disco.is_disco(packet) in (True, False)


def test_an_unknown_type_says_so():
    for kind in {0, *range(10, 256)} - {disco.Punch.kind}:
        with pytest.raises(disco.UnknownType):
            disco.decode(bytes([kind, 0]) + bytes(100))


@pytest.mark.parametrize("version", [0, 1, 255])
def test_pings_pongs_and_binds_of_later_versions_are_read(version):
    for message in (disco.Ping(TX, NODE), disco.Pong(TX, V4), disco.Bind(1, 2, ALICE.public())):
        body = message.body() + (b"" if isinstance(message, disco.Ping) else b"more")
        assert disco.decode(bytes([message.kind, version]) + body) == message


def test_a_ping_may_lack_the_node_key_and_may_be_longer():
    assert disco.decode(b"\1\0" + TX) == disco.Ping(TX, None)
    assert disco.decode(b"\1\0" + TX + NODE.raw + bytes(7)) == disco.Ping(TX, NODE, 7)
    with pytest.raises(Truncated):
        disco.decode(b"\1\0" + TX[:-1])


@pytest.mark.parametrize("payload", [b"\3\0", b"\3\0" + bytes(17), b"\3\0" + bytes(19), b"\3\1" + bytes(18)])
def test_an_odd_call_me_maybe_is_one_without_endpoints(payload):
    assert disco.decode(payload) == disco.CallMeMaybe(())


def test_ipv4_inside_ipv6_comes_out_as_ipv4():
    assert disco.decode(b"\2\0" + TX + bytes(10) + b"\xff\xff\xcb\0\x71\7\xa2\xa9") == disco.Pong(TX, V4)


@pytest.mark.parametrize("at", [0, 6, 37, 38, 61, 62, 77, 78, 123])
def test_a_packet_changed_anywhere_does_not_open(at):
    packet = bytearray(disco.DiscoBox(ALICE, BOB.public()).seal(disco.Ping(TX, NODE), NONCE))
    packet[at] ^= 1
    with pytest.raises(WireError):
        disco.DiscoBox(BOB, ALICE.public()).open(bytes(packet))


def test_a_packet_for_another_key_does_not_open():
    packet = disco.DiscoBox(ALICE, BOB.public()).seal(disco.Ping(TX, NODE), NONCE)
    with pytest.raises(disco.NotAuthentic):
        disco.DiscoBox(DiscoPrivate(bytes([9]) * 32), ALICE.public()).open(packet)
    with pytest.raises(disco.NotAuthentic, match="another key"):
        disco.DiscoBox(BOB, DiscoKey(bytes([9]) * 32)).open(packet)


@pytest.mark.parametrize("point", [bytes(32), bytes([1]) + bytes(31)])
def test_low_order_keys_are_refused(point):
    with pytest.raises(WireError, match="low order"):
        disco.DiscoBox(ALICE, DiscoKey(point))


def test_a_box_prints_no_secret():
    box = disco.DiscoBox(ALICE, BOB.public())
    assert ALICE.raw.hex() not in repr(box)
    assert not hasattr(box, "__dict__")
