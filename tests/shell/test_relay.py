"""The relay as it runs: real sockets on loopback, plain clients."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import ssl
import struct
from contextlib import suppress
from pathlib import Path

import pytest
from nacl.public import PrivateKey

from ginnel.core.relay.identity import SelfSigned
from ginnel.shell.relay import EmbeddedRelay
from ginnel.shell.relay_settings import RelayError, RelaySettings, connection_limits, receive_limits
from ginnel.words import NodeKey, WallTime
from tests.shell.derp_client import (
    LIMIT,
    MAGIC,
    NOTE_PREFERRED,
    PEER_GONE,
    PING,
    PONG,
    SEND_PACKET,
    SERVER_KEY,
    UPGRADE,
    client_info,
    connect,
    frame,
    login,
    tls_context,
)
from tests.shell.relays import ENTROPY, KEY, NOW, Serve, port

DISCO = b"TS\xf0\x9f\x92\xac" + bytes(80)
PROXY_V2 = bytes.fromhex("0d0a0d0a000d0a515549540a")


# --- logins and packets ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fast", [True, False], ids=["fast start", "upgrade"])
@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2], ids=str)
async def test_two_clients_reach_each_other(serve: Serve, fast: bool, newest: ssl.TLSVersion) -> None:
    at = port(serve())
    async with login(at, KEY, fast=fast, tls=tls_context(newest)) as alice, login(at, KEY) as bob:
        await alice.send(frame(NOTE_PREFERRED, b"\x01"))
        await alice.send_packet(bob, b"hello")
        assert await bob.packet() == (alice.key, b"hello")
        await bob.send_packet(alice, b"x" * 65536)
        assert await alice.packet() == (bob.key, b"x" * 65536)


async def test_packets_keep_their_order_and_the_sender_s_own_key(serve: Serve) -> None:
    relay = serve()
    at = port(relay)
    async with login(at, KEY) as alice, login(at, KEY) as bob, login(at, KEY) as carol:
        numbers = range(300)
        batch = b"".join(
            frame(SEND_PACKET, (bob.key if number % 3 else carol.key) + number.to_bytes(2, "big") * 50)
            for number in numbers
        )
        await alice.send(batch)
        for receiver, wanted in ((bob, [n for n in numbers if n % 3]), (carol, [n for n in numbers if not n % 3])):
            for number in wanted:
                assert await receiver.packet() == (alice.key, number.to_bytes(2, "big") * 50)
    assert relay.counters()["derp.packets_out"] == 300


async def test_frames_may_come_in_any_pieces(serve: Serve) -> None:
    at = port(serve())
    async with login(at, KEY) as alice, login(at, KEY) as bob:
        data = frame(SEND_PACKET, bob.key + b"one") + frame(0x77, bytes(40)) + frame(SEND_PACKET, bob.key + b"two")
        for at_byte in range(len(data)):
            await alice.send(data[at_byte : at_byte + 1])
        assert await bob.packet() == (alice.key, b"one")
        assert await bob.packet() == (alice.key, b"two")


async def test_a_ping_is_answered_with_its_first_eight_bytes(serve: Serve) -> None:
    async with login(port(serve()), KEY) as alice:
        await alice.send(frame(PING, b"12345678and more"))
        assert await alice.expect(PONG) == b"12345678"


async def test_a_box_sealed_with_another_key_is_refused(serve: Serve) -> None:
    relay = serve()
    stranger = bytes(PrivateKey.generate())
    claim = bytes(PrivateKey.generate().public_key)
    async with connect(port(relay), tls=tls_context()) as raw:
        await raw.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + client_info(stranger, KEY, claim))
        assert await raw.all() == frame(SERVER_KEY, MAGIC + KEY)
    assert relay.counters()["derp.login_failed"] == 1
    assert relay.clients() == []


async def test_only_members_log_in_and_who_is_none_any_more_is_cut(serve: Serve) -> None:
    relay = serve(members_only=True)
    at = port(relay)
    member, other = bytes(PrivateKey.generate()), bytes(PrivateKey.generate())
    relay.set_members([bytes(PrivateKey(member).public_key)])
    async with login(at, KEY, private=member) as alice:
        async with connect(at, tls=tls_context()) as raw:
            await raw.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + client_info(other, KEY))
            assert await raw.all() == frame(SERVER_KEY, MAGIC + KEY)
        await alice.settle()
        relay.set_members([bytes(PrivateKey(other).public_key)])
        assert await alice.ended()
    async with login(at, KEY, private=other) as bob:
        relay.remove_member(bob.key)
        assert await bob.ended()


# --- who is gone -------------------------------------------------------------------------------------------------


async def test_only_disco_to_nobody_is_answered_and_seldom(serve: Serve) -> None:
    nobody = bytes(PrivateKey.generate().public_key)
    async with login(port(serve()), KEY) as alice:
        await alice.send_packet(nobody, b"data")
        await alice.settle()  # no frame came but the pong
        await alice.send(frame(SEND_PACKET, nobody + DISCO) + frame(PING, bytes(8)))
        assert await alice.expect(PEER_GONE) == nobody + b"\x01"
        assert await alice.expect(PONG) == bytes(8)
        await alice.send(
            b"".join(frame(SEND_PACKET, bytes([n]) * 32 + DISCO) for n in range(20)) + frame(PING, bytes(8))
        )
        kinds = []
        while not kinds or kinds[-1] != PONG:
            kinds.append((await alice.frame())[0])
        assert kinds.count(PEER_GONE) <= 3


async def test_those_who_had_packets_learn_that_a_peer_left_and_nobody_else(serve: Serve) -> None:
    at = port(serve())
    async with login(at, KEY) as bob, login(at, KEY) as carol:
        async with login(at, KEY) as alice:
            await alice.send_packet(bob, b"hello")
            await bob.packet()
        assert await bob.expect(PEER_GONE) == alice.key + b"\x00"
        await carol.settle()


async def test_of_two_logins_with_one_key_the_last_to_speak_receives(serve: Serve) -> None:
    relay = serve()
    at = port(relay)
    private = bytes(PrivateKey.generate())
    async with (
        login(at, KEY) as alice,
        login(at, KEY, private=private) as old,
        login(at, KEY, private=private) as new,
    ):
        await alice.send_packet(old, b"1")
        assert (await new.packet())[1] == b"1"
        await old.settle()
        await alice.send_packet(old, b"2")
        assert (await old.packet())[1] == b"2"
        old.writer.transport.abort()
        async with asyncio.timeout(LIMIT):
            while len(relay.clients()) > 2:
                await new.settle()
        await alice.send_packet(old, b"3")
        assert (await new.packet())[1] == b"3"


# --- slow and hostile --------------------------------------------------------------------------------------------


async def test_a_client_that_never_reads_is_dropped_alone(serve: Serve) -> None:
    relay = serve(write_timeout=0.3)
    at = port(relay)
    async with login(at, KEY) as alice, login(at, KEY) as bob, login(at, KEY) as deaf:
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        flood = frame(SEND_PACKET, deaf.key + bytes(1300)) * 50
        async with asyncio.timeout(LIMIT):
            while len(relay.clients()) > 2:  # the kernel's buffers may grow for a while
                await alice.send(flood)
                await alice.send_packet(bob, b"goes on")
                assert await bob.packet() == (alice.key, b"goes on")
        assert relay.counters()["derp.drop.queue_head"] > 0
        assert relay.counters()["derp.write_timeout"] == 1
        await alice.send_packet(bob, b"still")
        assert await bob.packet() == (alice.key, b"still")


SIZES = [0, 1, 8, 32, 33, 100, 1001, 65568, 65569]


async def test_each_of_256_types_in_each_size_leaves_the_others_alone(serve: Serve) -> None:
    relay = serve()
    at = port(relay)
    async with login(at, KEY) as alice, login(at, KEY) as bob:
        gate = asyncio.Semaphore(16)

        async def one(kind: int) -> None:
            async with gate:
                await _survives(at, kind)

        await asyncio.gather(*(one(kind) for kind in range(256)))
        await alice.send_packet(bob, b"fine")
        assert await bob.packet() == (alice.key, b"fine")


async def _survives(at: int, kind: int) -> None:
    """All sizes on one connection while the relay keeps it, else on a new one each."""
    rest = list(SIZES)
    while rest:
        async with login(at, KEY) as client:
            while rest:
                await client.send(frame(kind, bytes([kind]) * rest.pop(0)) + frame(PING, b"settled!"))
                if not await _settled(client):
                    break


async def _settled(client: object) -> bool:
    while True:
        try:
            kind, body = await client.frame()  # type: ignore[attr-defined]
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            return False
        if (kind, body) == (PONG, b"settled!"):
            return True


@pytest.mark.parametrize(
    ("kind", "longest"), [(SEND_PACKET, 32 + 65536), (PING, 1000), (PONG, 1000), (NOTE_PREFERRED, 1)]
)
async def test_a_frame_of_its_longest_size_is_taken_and_a_byte_more_ends_the_connection(
    serve: Serve, kind: int, longest: int
) -> None:
    relay = serve()
    async with login(port(relay), KEY) as client:
        await client.send(frame(kind, bytes(longest)) + frame(PING, b"settled!"))
        assert await _settled(client)
        await client.send(frame(kind, bytes(longest + 1))[:5])
        assert await client.ended()
    assert relay.counters()["derp.bad_stream"] == 1


async def test_frames_of_other_relays_are_refused(serve: Serve) -> None:
    relay = serve()
    for kind, size in ((0x10, 0), (0x11, 32), (0x0A, 70)):
        async with login(port(relay), KEY) as client:
            await client.send(frame(kind, bytes(size)))
            assert await client.ended()
    assert relay.counters()["derp.refused_frame"] == 3


GARBAGE = [
    b"\x00" * 64,
    b"\xff" * 5000,
    b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    PROXY_V2 + b"\x21\x11\x00\x0c" + bytes(12),
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=["zeros", "ones", "proxy v1", "proxy v2"])
async def test_garbage_is_refused_on_every_port_and_disturbs_nobody(
    serve: Serve, garbage: bytes, tmp_path: Path
) -> None:
    relay = serve(splice=str(tmp_path / "nobody"))
    at = port(relay)
    async with login(at, KEY) as alice, login(at, KEY) as bob:
        for number, tls in ((at, None), (at, tls_context()), (port(relay, "http"), None)):
            async with connect(number, tls=tls) as raw:
                with suppress(OSError):  # it may be refused before all of it is sent
                    await raw.send(garbage)
                    if tls is None:
                        raw.writer.write_eof()
                answer = await raw.all()
                assert not answer.startswith(b"HTTP") or answer.startswith(b"HTTP/1.1 400 ")
        await alice.send_packet(bob, b"fine")
        assert await bob.packet() == (alice.key, b"fine")
    assert relay.counters()["door.spliced"] == 0


async def test_half_a_handshake_and_then_silence_is_closed(serve: Serve) -> None:
    relay = serve(handshake_timeout=0.2)
    at = port(relay)
    async with connect(at, tls=None) as raw:
        await raw.send(b"\x16\x03\x01\x02\x00\x01")
        assert await raw.ended()
    async with connect(at, tls=tls_context()) as raw:
        await raw.send(b"GET / HT")
        assert await raw.ended()
    async with connect(at, tls=tls_context()) as raw:
        await raw.send(UPGRADE + b"\r\n" + frame(2, bytes(80))[:30])
        assert await raw.ended()
    async with connect(port(relay, "http"), tls=None) as raw:
        assert await raw.ended()
    assert relay.counters()["door.handshake_late"] == 4


# --- HTTP --------------------------------------------------------------------------------------------------------


async def test_port_80_answers_the_challenge_and_points_elsewhere_to_https(serve: Serve) -> None:
    at = port(serve(), "http")
    async with connect(at, tls=None) as raw:
        await raw.send(b"GET /generate_204 HTTP/1.1\r\nHost: a\r\nX-Tailscale-Challenge: ts_a:80\r\n\r\n")
        answer = await raw.all()
    assert answer.startswith(b"HTTP/1.1 204 ")
    assert b"\r\nX-Tailscale-Response: response ts_a:80\r\n" in answer
    async with connect(at, tls=None) as raw:
        await raw.send(b"GET /x HTTP/1.1\r\nHost: relay.example\r\n\r\n")
        assert b"\r\nLocation: https://relay.example/x\r\n" in await raw.all()


async def test_bootstrap_dns_answers_what_was_set(serve: Serve) -> None:
    relay = serve()
    told, hidden = ({name: ["192.0.2.1"]} for name in ("relay.example", "hidden.example"))
    relay.set_bootstrap_dns(json.dumps(told), {"hidden.example": json.dumps(hidden)})
    for query, expected in (("", told), ("?q=relay.example", told), ("?q=other", told), ("?q=Hidden.example", hidden)):
        async with connect(port(relay), tls=tls_context()) as raw:
            await raw.send(f"GET /bootstrap-dns{query} HTTP/1.1\r\n\r\n".encode())
            head, _, body = (await raw.all()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 ")
        assert b"\r\nContent-Type: application/json\r\n" in head
        assert json.loads(body) == expected


async def test_other_requests_are_not_found_without_a_server_behind(serve: Serve) -> None:
    async with connect(port(serve()), tls=tls_context()) as raw:
        await raw.send(b"GET /admin HTTP/1.1\r\n\r\n")
        assert (await raw.all()).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("by_tls", [True, False], ids=["tls", "port 80"])
async def test_the_server_behind_gets_every_byte_and_learns_who_is_in_front(
    serve: Serve, tmp_path: Path, by_tls: bool
) -> None:
    path = tmp_path / "behind"
    preambles: list[bytes] = []

    ended = asyncio.Event()

    async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            fixed = await reader.readexactly(16)
            preambles.append(fixed + await reader.readexactly(int.from_bytes(fixed[14:], "big")))
            while data := await reader.read(65536):  # an echo
                writer.write(data)
                await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        ended.set()

    async with await asyncio.start_unix_server(behind, path):
        relay = serve(splice=str(path))
        at = port(relay, "tls" if by_tls else "http")
        async with connect(at, tls=tls_context() if by_tls else None) as raw:
            head = b"POST /ts2021 HTTP/1.1\r\nUpgrade: tailscale-control-protocol\r\n\r\n"
            early, body = os.urandom(3000), os.urandom(3_000_000)
            source = raw.writer.get_extra_info("sockname")
            await raw.send(head + early)
            sending = asyncio.create_task(raw.send(body))
            async with asyncio.timeout(LIMIT):
                assert await raw.reader.readexactly(len(head + early + body)) == head + early + body
            await sending
            if not by_tls:
                raw.writer.write_eof()
                assert await raw.all() == b""
        await asyncio.wait_for(ended.wait(), LIMIT)
    ports = struct.pack(">HH", source[1], at)
    addresses = bytes([127, 0, 0, 1]) * 2 + ports
    ssl_part = b"\x20\x00\x0f\x01\x00\x00\x00\x01\x21\x00\x07TLSv1.3" if by_tls else b""
    length = (len(addresses) + len(ssl_part)).to_bytes(2, "big")
    assert preambles == [PROXY_V2 + b"\x21\x11" + length + addresses + ssl_part]


async def test_a_server_that_is_down_is_said_in_words(serve: Serve, tmp_path: Path) -> None:
    async with connect(port(serve(splice=str(tmp_path / "nobody"))), tls=tls_context()) as raw:
        await raw.send(b"GET / HTTP/1.1\r\n\r\n")
        assert (await raw.all()).startswith(b"HTTP/1.1 503 ")


# --- STUN --------------------------------------------------------------------------------------------------------

VECTORS = json.loads((Path(__file__).parent.parent / "vectors/data/stun.json").read_text())
REQUEST = bytes.fromhex(VECTORS["exchanges"][0]["request"])


def ask(at: tuple[str, int], family: socket.AddressFamily, *packets: bytes) -> tuple[bytes, tuple[str, int], int]:
    """Send all packets, return the first answer, who answered, and our port."""
    with socket.socket(family, socket.SOCK_DGRAM) as udp:
        udp.settimeout(LIMIT)
        udp.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        for packet in packets:
            udp.sendto(packet, at)
        answer, source = udp.recvfrom(2000)
        return answer, source[:2], udp.getsockname()[1]


def test_stun_answers_both_families_from_the_address_asked(serve: Serve) -> None:
    relay = serve(stun=["[::]:0"])
    at = port(relay, "stun")
    for host in ("127.0.0.1", "127.0.0.9"):
        answer, source, ours = ask((host, at), socket.AF_INET, REQUEST)
        assert source == (host, at)
        masked = bytes(a ^ b for a, b in zip(bytes([127, 0, 0, 1]), b"\x21\x12\xa4\x42", strict=True))
        assert answer == (
            b"\x01\x01\x00\x0c"
            + REQUEST[4:20]
            + b"\x00\x20\x00\x08\x00\x01"
            + struct.pack(">H", ours ^ 0x2112)
            + masked
        )
    answer, source, ours = ask(("::1", at), socket.AF_INET6, REQUEST)
    masked = bytes(a ^ b for a, b in zip(bytes(15) + b"\x01", REQUEST[4:20], strict=True))
    assert source == ("::1", at)
    assert answer[24:] == b"\x00\x02" + struct.pack(">H", ours ^ 0x2112) + masked


def test_stun_is_silent_to_everything_else(serve: Serve) -> None:
    relay = serve()
    wrong = [REQUEST[:-1], REQUEST + b"\0", bytes(40), b"", b"\x01\x01" + REQUEST[2:], REQUEST[:39] + b"\0"]
    answer, _, _ = ask(("127.0.0.1", port(relay, "stun")), socket.AF_INET, *wrong, REQUEST)
    assert answer[8:20] == REQUEST[8:20]
    assert relay.counters()["stun.answered"] == 1
    assert relay.counters()["stun.ignored"] == len(wrong)


# --- files and errors --------------------------------------------------------------------------------------------


def settings(state: Path, **changes: object) -> RelaySettings:
    listen = {"tls": ("127.0.0.1:0",), "http": (), "stun": ("127.0.0.1:0",)}
    return RelaySettings(**{"state": state, "hostname": "127.0.0.1", **listen, **changes})  # type: ignore[arg-type]


def test_key_and_pin_survive_a_restart_and_are_nobody_else_s(tmp_path: Path) -> None:
    state = tmp_path / "state"
    first = EmbeddedRelay.start(settings(state), NOW)
    first.close()
    again = EmbeddedRelay.start(settings(state), NOW)
    again.close()
    assert (again.key, again.leaf.pin) == (first.key, first.leaf.pin)
    assert {path.name: path.stat().st_mode & 0o777 for path in state.iterdir()} == dict.fromkeys(
        ("derp.key", "relay.crt", "relay.key"), 0o600
    )


def test_a_stop_between_the_two_files_of_a_new_leaf_is_overcome(tmp_path: Path) -> None:
    first = EmbeddedRelay.start(settings(tmp_path), NOW)
    first.close()
    (tmp_path / "relay.key").write_bytes(SelfSigned.make("127.0.0.1", bytes(64), NOW).key)
    again = EmbeddedRelay.start(settings(tmp_path), NOW)
    again.close()
    assert again.leaf.pin != first.leaf.pin


def test_connections_leave_descriptors_for_the_rest_of_the_process() -> None:
    assert connection_limits(1024, splices=True) == {"connections": 448, "per_prefix": 112, "half_open_per_prefix": 112}
    assert connection_limits(1024, splices=False)["connections"] == 896
    most = {"connections": 60_000, "per_prefix": 4096, "half_open_per_prefix": 512}
    assert connection_limits(1 << 20, splices=False) == most
    assert connection_limits(10, splices=True) == {"connections": 1, "per_prefix": 1, "half_open_per_prefix": 1}


async def test_a_client_s_rate_is_set_for_the_relay_and_off_unless_set(tmp_path: Path) -> None:
    assert receive_limits(0) == {}
    assert receive_limits(10) == {"receive_rate": 10, "receive_burst": 65_573}
    relay = EmbeddedRelay.start(settings(tmp_path, receive_rate=1, members_only=False), NOW)
    try:
        at = relay.native.addresses()["tls"][0][1]
        async with login(at, relay.key.raw) as alice, login(at, relay.key.raw) as bob:
            await alice.send(frame(SEND_PACKET, bob.key + bytes(1300)) * 100)  # twice the burst: a day and more
            await alice.send(frame(SEND_PACKET, bob.key + b"late"))
            for _ in range(45):
                assert await bob.packet() == (alice.key, bytes(1300))
            for _ in range(20):
                await bob.send(frame(PING, bytes(8)))
                while (got := await bob.frame())[0] != PONG:
                    assert got[1] == alice.key + bytes(1300)
    finally:
        relay.close()


@pytest.mark.parametrize("host", ["", "b\u00fccher.example", "https://relay.example", "a b", "a..b", "-a.example"])
def test_what_is_no_host_is_refused_in_words(tmp_path: Path, host: str) -> None:
    with pytest.raises(RelayError, match="is no host: give a name"):
        EmbeddedRelay.start(settings(tmp_path, hostname=host), NOW)


def test_another_host_name_has_another_leaf(tmp_path: Path) -> None:
    first = EmbeddedRelay.start(settings(tmp_path), NOW)
    first.close()
    renamed = EmbeddedRelay.start(settings(tmp_path, hostname="relay.example"), NOW)
    renamed.close()
    assert renamed.leaf.names == {"relay.example"}
    assert renamed.leaf.pin != first.leaf.pin


async def test_certificates_are_renewed_by_the_clock_and_the_map_learns_only_of_the_leaf(tmp_path: Path) -> None:
    relay = EmbeddedRelay.start(settings(tmp_path), NOW)
    day = 86400.0
    try:
        assert not relay.tick(WallTime(NOW + 19 * day))
        pin = relay.leaf.pin
        assert not relay.tick(WallTime(NOW + 21 * day))
        assert relay.leaf.pin == pin
        assert relay.tick(WallTime(NOW + 3601 * day))
        assert relay.leaf.pin != pin
        assert relay.region.nodes is not None
        assert relay.region.nodes[0].cert_name == relay.leaf.pin
        async with connect(relay.native.addresses()["tls"][0][1], tls=tls_context()) as raw:
            der = raw.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        assert ssl.DER_cert_to_PEM_cert(der).split() == (tmp_path / "relay.crt").read_text().split()
    finally:
        relay.close()


def test_given_files_are_reloaded_and_broken_ones_leave_the_old_in_use(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def write(seed: int) -> None:
        made = SelfSigned.make("relay.example", bytes([seed]) * 64, NOW)
        chain.write_bytes(made.certificate)
        key.write_bytes(made.key)

    write(1)
    given = settings(tmp_path / "state", hostname="relay.example", certificate=chain, certificate_key=key)
    relay = EmbeddedRelay.start(given, NOW)
    try:
        before = relay.leaf.pin
        write(2)
        assert not relay.tick(NOW)  # somebody may be writing still
        assert relay.tick(NOW)
        assert relay.leaf.pin != before
        assert not relay.tick(NOW)
        chain.write_text("nonsense")
        assert not relay.tick(NOW)
        with pytest.raises(RelayError, match="expected a PEM certificate chain"):
            relay.tick(NOW)
        assert not relay.tick(NOW)  # said once
        write(3)
        key.write_bytes(SelfSigned.make("relay.example", ENTROPY, NOW).key)
        with pytest.raises(RelayError, match="goes on with the old one"):
            relay.tick(NOW, look=True)
        made = SelfSigned.make("relay.example", ENTROPY, WallTime(NOW - 4000 * 86400))
        chain.write_bytes(made.certificate)
        with pytest.raises(RelayError, match=r"has ended on 20\d\d-\d\d-\d\d; the relay goes on with the old one"):
            relay.tick(NOW, look=True)
    finally:
        relay.close()


async def test_a_new_certificate_is_for_new_connections_and_old_ones_stay(tmp_path: Path) -> None:
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"

    def write(entropy: bytes) -> SelfSigned:
        made = SelfSigned.make("127.0.0.1", entropy, NOW)
        chain.write_bytes(made.certificate)
        key.write_bytes(made.key)
        return made

    write(ENTROPY)
    given = settings(tmp_path / "state", certificate=chain, certificate_key=key, members_only=False)
    relay = EmbeddedRelay.start(given, NOW)
    try:
        at = relay.native.addresses()["tls"][0][1]
        async with login(at, relay.key.raw) as alice, login(at, relay.key.raw) as bob:
            fresh = write(bytes(64))
            assert relay.tick(NOW, look=True)
            async with connect(at, tls=tls_context()) as raw:
                der = raw.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            assert ssl.DER_cert_to_PEM_cert(der).split() == fresh.certificate.decode().split()
            await alice.send_packet(bob, b"still here")
            assert await bob.packet() == (alice.key, b"still here")
    finally:
        relay.close()


def test_errors_are_one_line_that_says_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(RelayError) as error:
            EmbeddedRelay.start(settings(tmp_path / "a", tls=(at,)), NOW)
    expected = (
        f"cannot listen on {at} (tls): Address already in use: stop the program that has it, or choose another port"
    )
    assert str(error.value) == expected
    with pytest.raises(RelayError, match=r"cannot listen on 192\.0\.2\.1:0 .*no interface of this machine"):
        EmbeddedRelay.start(settings(tmp_path / "a", stun=("192.0.2.1:0",)), NOW)
    (tmp_path / "b").mkdir()
    (tmp_path / "b/derp.key").write_text("privkey:zz")
    with pytest.raises(RelayError, match="holds no relay key"):
        EmbeddedRelay.start(settings(tmp_path / "b"), NOW)
    (tmp_path / "file").write_text("")
    with pytest.raises(RelayError, match=r"cannot make .*: Not a directory; choose another --state"):
        EmbeddedRelay.start(settings(tmp_path / "file/state"), NOW)
    with pytest.raises(RelayError, match="give both files or none"):
        EmbeddedRelay.start(settings(tmp_path / "c", certificate=tmp_path / "x"), NOW)
    with pytest.raises(RelayError, match=r"cannot read .*No such file"):
        missing = tmp_path / "x"
        EmbeddedRelay.start(settings(tmp_path / "c", certificate=missing, certificate_key=missing), NOW)


def test_members_are_node_keys(tmp_path: Path) -> None:
    relay = EmbeddedRelay.start(settings(tmp_path), NOW)
    try:
        relay.set_members([NodeKey(KEY)])
        relay.add_member(NodeKey(bytes(32)))
        relay.remove_member(NodeKey(KEY))
        with pytest.raises(ValueError, match="expected 32 bytes"):
            relay.native.add_member(b"short")
    finally:
        relay.close()
