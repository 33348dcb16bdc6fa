"""The handshake against the protocol's published steps, an independent library, and a captured client."""

import base64
import json
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.bindings import crypto_scalarmult_base
from noise.connection import Keypair, NoiseConnection

from ginnel.wire import noise
from ginnel.wire.read import WireError
from ginnel.words import MachineKey, MachinePrivate, clamp

CAPTURED = json.loads((Path(__file__).parent.parent / "vectors/control/noise_handshake_records.json").read_text())

# Keys 0..31, 32..63, 64..95, 96..127; the expected bytes were derived with another implementation.
SERVER, MACHINE = MachinePrivate(bytes(range(32))), MachinePrivate(bytes(range(32, 64)))
NODE_EPHEMERAL, SERVER_EPHEMERAL = bytes(range(64, 96)), bytes(range(96, 128))
INITIATION = base64.b64decode(
    "AHEBAGB5pjHu3hv5yY8SAyzerdDnoHk5j8eGuIzIRuyJr4WlGlpdPsUMY7DgFWEBzxOPRtBUJ+2H9ZLCAJurJvF4"
    "1ybjJmNiLNldWyNnedsde1NWL4UVCxj5gyilz533QaM9y4Q="
)
RESPONSE = bytes.fromhex(
    "020030675dd574ed7789310b3d2e7681f3790b466c773b1521fecf36577958371ea52f8e38f1ab7dd18225b2cdff99354a5389"
)
TO_SERVER = bytes.fromhex("8b2f6bbba15ce6d607c316355f2d3c93f62dcbe39b04eb873b5b2e2812dc71b6")
TO_NODE = bytes.fromhex("e8f7da7193cd2dd7834427bc5de410cc7fa42ea2bddb06906a91b23daf60a99b")
LOW_ORDER = [
    bytes(32),
    bytes([1]) + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    bytes.fromhex("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
    bytes.fromhex("eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"),
]

private_keys = st.binary(min_size=32, max_size=32)


def shake(server, machine, version, node_ephemeral, server_ephemeral):
    node = noise.Initiator(machine, server.public(), version, node_ephemeral)
    accepted = noise.accept(server, server_ephemeral, node.initiation)
    return accepted, node.finish(accepted.response)


def open_all(opener, data):
    return list(opener.feed(data))


def test_writes_the_known_initiation_and_response():
    node = noise.Initiator(MACHINE, SERVER.public(), 113, NODE_EPHEMERAL)
    assert node.initiation == INITIATION
    accepted = noise.accept(SERVER, SERVER_EPHEMERAL, INITIATION)
    assert accepted.response == RESPONSE
    assert (accepted.machine, accepted.version) == (MACHINE.public(), 113)
    known = "48ae1bec45232c1831e0049f01db0ecc7a5f3782666375d87aef6b9c09b5fb6b"
    assert node.finish(RESPONSE).handshake_hash.hex() == accepted.session.handshake_hash.hex() == known


def test_writes_the_known_records():
    sealer = noise.Sealer(TO_SERVER)
    assert sealer.record(b"hello").hex() == "04001575f1f2d6777cc3f81453c77f9ff260bb221db186eb"
    assert sealer.record(b"world").hex() == "0400155bb3ab8da1911beabdfc52eb14a1f6415a197f6331"
    assert sealer.record(b"").hex() == "04001063e387507a7413002bde0af706677172"


def test_counts_records_in_big_endian_order():
    assert noise.Sealer(TO_NODE, 0).record(b"hello").hex() == "0400154c9a443517233988ec8832549456cd83ba42fcf8de"
    assert noise.Sealer(TO_NODE, 256).record(b"hello").hex() == "040015c77f2660877c3d8ec68b20bde3e41803e9272730bb"


def test_a_session_seals_with_the_keys_that_both_derived():
    accepted, session = shake(SERVER, MACHINE, 113, NODE_EPHEMERAL, SERVER_EPHEMERAL)
    assert session.sealer.record(b"hello") == noise.Sealer(TO_SERVER).record(b"hello")
    assert accepted.session.sealer.record(b"hello") == noise.Sealer(TO_NODE).record(b"hello")


def test_understands_the_captured_client():
    server = MachinePrivate(bytes.fromhex(CAPTURED["server_static_private_hex"]))
    ephemeral = bytes.fromhex(CAPTURED["server_ephemeral_private_hex"])
    accepted = noise.accept(server, ephemeral, bytes.fromhex(CAPTURED["initiation_hex"]))
    assert str(accepted.machine) == CAPTURED["client_machine_public"]
    assert accepted.version == CAPTURED["capability_version"]
    assert accepted.response.hex() == CAPTURED["response_hex"]
    assert accepted.session.handshake_hash.hex() == CAPTURED["handshake_hash_hex"]
    for record in CAPTURED["client_records"]:
        assert open_all(accepted.session.opener, bytes.fromhex(record["record"])) == [
            bytes.fromhex(record["plaintext"])
        ]
    for record in CAPTURED["server_records"]:
        assert accepted.session.sealer.record(bytes.fromhex(record["plaintext"])).hex() == record["record"]


@pytest.mark.filterwarnings("ignore:One of ephemeral keypairs is already set")
@given(private_keys, private_keys, private_keys, private_keys, st.integers(0, 0xFFFF))
def test_agrees_with_an_independent_library(server_raw, machine_raw, node_ephemeral, server_ephemeral, version):
    server, machine = MachinePrivate(server_raw), MachinePrivate(machine_raw)
    oracle = NoiseConnection.from_name(noise.PROTOCOL)
    oracle.set_as_initiator()
    oracle.set_prologue(noise.prologue(version))
    oracle.set_keypair_from_private_bytes(Keypair.STATIC, machine.raw)
    oracle.set_keypair_from_private_bytes(Keypair.EPHEMERAL, clamp(node_ephemeral))
    oracle.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, server.public().raw)
    oracle.start_handshake()
    accepted, session = shake(server, machine, version, node_ephemeral, server_ephemeral)
    node = noise.Initiator(machine, server.public(), version, node_ephemeral)
    assert bytes(oracle.write_message()) == node.initiation[5:]
    assert oracle.read_message(accepted.response[3:]) == b""
    assert oracle.get_handshake_hash() == session.handshake_hash
    assert session.sealer.record(b"first")[3:] == oracle.encrypt(b"first")


@given(st.lists(st.binary(max_size=9000), max_size=5), st.data())
def test_records_survive_any_chunking(messages, data):
    sealer, opener = noise.Sealer(TO_SERVER), noise.Opener(TO_SERVER)
    stream = b"".join(sealer.seal(message) for message in messages)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert b"".join(b"".join(opener.feed(piece)) for piece in pieces) == b"".join(messages)


def test_a_record_holds_4077_bytes_and_a_frame_4096():
    sealed = noise.Sealer(TO_SERVER).seal(bytes(4078))
    assert [len(sealed[:4096]), len(sealed[4096:])] == [4096, 3 + 16 + 1]
    with pytest.raises(ValueError, match="4077"):
        noise.Sealer(TO_SERVER).record(bytes(4078))


def test_skips_empty_records():
    sealer = noise.Sealer(TO_SERVER)
    stream = sealer.record(b"") + sealer.record(b"a") + sealer.record(b"")
    assert open_all(noise.Opener(TO_SERVER), stream) == [b"a"]


def test_refuses_a_frame_of_4097_bytes_by_its_header_alone():
    with pytest.raises(WireError, match="4094"):
        open_all(noise.Opener(TO_SERVER), b"\x04" + (4094).to_bytes(2, "big"))


def test_refuses_every_other_frame_type_among_records():
    for kind in set(range(256)) - {noise.RECORD}:
        with pytest.raises(WireError, match="type"):
            open_all(noise.Opener(TO_SERVER), bytes([kind, 0, 16]) + bytes(16))


@pytest.mark.parametrize("size", range(16))
def test_refuses_a_record_shorter_than_its_tag(size):
    with pytest.raises(WireError):
        open_all(noise.Opener(TO_SERVER), b"\x04" + size.to_bytes(2, "big") + bytes(size))


def test_refuses_replayed_and_changed_records():
    record = noise.Sealer(TO_SERVER).record(b"hello")
    opener = noise.Opener(TO_SERVER)
    assert open_all(opener, record) == [b"hello"]
    with pytest.raises(noise.NotAuthentic):
        open_all(opener, record)
    with pytest.raises(noise.NotAuthentic):
        open_all(noise.Opener(TO_SERVER), record[:-1] + bytes([record[-1] ^ 1]))


def test_the_counter_never_reaches_its_last_value():
    last = 2**64 - 2
    opener, sealer = noise.Opener(TO_SERVER, last), noise.Sealer(TO_SERVER, last)
    record = sealer.record(b"last")
    assert open_all(opener, record) == [b"last"]
    for step in (lambda: sealer.record(b""), lambda: open_all(opener, record)):
        with pytest.raises(WireError, match="used up"):
            step()


@pytest.mark.parametrize("at", range(noise.INITIATION_SIZE))
def test_refuses_an_initiation_changed_anywhere(at):
    changed = bytearray(INITIATION)
    changed[at] ^= 1
    with pytest.raises(WireError):
        noise.accept(SERVER, SERVER_EPHEMERAL, bytes(changed))


@pytest.mark.parametrize("size", [*range(noise.INITIATION_SIZE), 102])
def test_refuses_an_initiation_of_another_size(size):
    with pytest.raises(WireError):
        noise.accept(SERVER, SERVER_EPHEMERAL, (INITIATION + b"\0")[:size])


@pytest.mark.parametrize("at", range(noise.RESPONSE_SIZE))
def test_refuses_a_response_changed_anywhere(at):
    node = noise.Initiator(MACHINE, SERVER.public(), 113, NODE_EPHEMERAL)
    changed = bytearray(RESPONSE)
    changed[at] ^= 1
    with pytest.raises(WireError):
        node.finish(bytes(changed))


def test_refuses_an_initiation_under_another_server_key():
    with pytest.raises(noise.NotAuthentic):
        noise.accept(MACHINE, SERVER_EPHEMERAL, INITIATION)


@pytest.mark.parametrize("point", LOW_ORDER, ids=lambda p: p[:4].hex())
def test_refuses_low_order_keys(point):
    with pytest.raises(WireError, match="low order"):
        noise.Initiator(MACHINE, MachineKey(point), 113, NODE_EPHEMERAL)
    with pytest.raises(WireError, match="low order"):
        noise.accept(SERVER, SERVER_EPHEMERAL, INITIATION[:5] + point + INITIATION[37:])
    node = noise.Initiator(MACHINE, SERVER.public(), 113, NODE_EPHEMERAL)
    with pytest.raises(WireError, match="low order"):
        node.finish(RESPONSE[:3] + point + RESPONSE[35:])


def test_a_handshake_finishes_once():
    node = noise.Initiator(MACHINE, SERVER.public(), 113, NODE_EPHEMERAL)
    node.finish(RESPONSE)
    with pytest.raises(WireError, match="over"):
        node.finish(RESPONSE)


@pytest.mark.parametrize("cut", range(noise.RESPONSE_SIZE))
def test_waits_for_the_whole_answer(cut):
    assert noise.split_answer(RESPONSE[:cut]) is None
    assert noise.split_answer(RESPONSE + b"more") == (RESPONSE, b"more")


def test_reports_what_the_server_says_instead_of_a_response():
    frame = noise.error_frame("go\naway")
    assert noise.split_answer(frame[:-1]) is None
    with pytest.raises(noise.ServerRefused, match=r"server error: 'go\\naway'"):
        noise.split_answer(frame)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(data):
    node = noise.Initiator(MACHINE, SERVER.public(), 113, NODE_EPHEMERAL)
    for step in (
        lambda: noise.accept(SERVER, SERVER_EPHEMERAL, data),
        lambda: node.finish(data),
        lambda: noise.split_answer(data),
        lambda: open_all(noise.Opener(TO_SERVER), data),
    ):
        with suppress(WireError):
            step()


def test_nothing_prints_a_key():
    accepted, session = shake(SERVER, MACHINE, 113, NODE_EPHEMERAL, SERVER_EPHEMERAL)
    shown = repr(accepted) + repr(session) + repr(session.sealer)
    secrets = [TO_SERVER, TO_NODE, SERVER.raw, MACHINE.raw, crypto_scalarmult_base(clamp(NODE_EPHEMERAL))]
    assert not any(secret.hex() in shown or repr(secret)[2:-1] in shown for secret in secrets)
