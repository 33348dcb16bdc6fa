"""What one place may take of the relay: connections, bytes, STUN answers."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from tests.shell.derp_client import (
    KEEP_ALIVE,
    LIMIT,
    PING,
    PONG,
    RECV_PACKET,
    SEND_PACKET,
    connect,
    frame,
    login,
    tls_context,
)
from tests.shell.relays import KEY, Serve, port

DISCO = b"TS\xf0\x9f\x92\xac" + bytes(80)
VECTORS = json.loads((Path(__file__).parent.parent / "vectors/data/stun.json").read_text())
REQUEST = bytes.fromhex(VECTORS["exchanges"][0]["request"])


async def test_the_connections_in_all_are_bounded_and_one_that_ends_makes_room(serve: Serve) -> None:
    relay = serve(limits={"connections": 2})
    async with login(port(relay), KEY) as alice:
        async with login(port(relay), KEY), connect(port(relay), tls=None) as third:
            assert await third.ended()
            assert relay.counters()["door.over_limit"] == 1
            await alice.settle()
        async with asyncio.timeout(LIMIT):
            while len(relay.clients()) > 1:
                await alice.settle()
        await _room(relay, alice)


async def _room(relay: object, alice: object) -> None:
    """A place is free a moment after its login has gone."""
    async with asyncio.timeout(LIMIT):
        while True:
            try:
                async with login(port(relay), KEY):  # type: ignore[arg-type]
                    return
            except (ConnectionError, asyncio.IncompleteReadError, EOFError):
                await alice.settle()  # type: ignore[attr-defined]


async def test_one_place_has_so_many_connections_on_both_ports_together(serve: Serve) -> None:
    relay = serve(limits={"per_prefix": 2, "limit_loopback": 1})
    async with login(port(relay), KEY), connect(port(relay, "http"), tls=None):
        for kind in ("tls", "http"):
            async with connect(port(relay, kind), tls=None) as over:
                assert await over.ended()
    assert relay.counters()["door.over_limit"] == 2


async def test_silent_connections_of_a_place_do_not_take_the_room_of_its_logins(serve: Serve) -> None:
    relay = serve(limits={"half_open_per_prefix": 1, "limit_loopback": 1})
    async with login(port(relay), KEY) as alice, connect(port(relay), tls=tls_context()):
        async with connect(port(relay), tls=None) as over:
            assert await over.ended()
        await alice.settle()
    assert relay.counters()["door.over_limit"] == 1


async def test_a_client_that_sends_too_fast_waits_and_loses_nothing(serve: Serve) -> None:
    relay = serve(limits={"receive_rate": 2_000_000, "receive_burst": 100_000})
    clock = asyncio.get_running_loop()
    async with login(port(relay), KEY) as alice, login(port(relay), KEY) as bob, login(port(relay), KEY) as carol:
        packets = [number.to_bytes(2, "big") * 500 for number in range(1000)]
        begun = clock.time()
        sending = asyncio.create_task(alice.send(b"".join(frame(SEND_PACKET, bob.key + data) for data in packets)))
        for data in packets:
            assert await bob.packet() == (alice.key, data)
        assert clock.time() - begun > 0.35  # 1 MB less the burst and one read of 64 KiB at 2 MB/s
        await sending
        begun = clock.time()
        await carol.send_packet(bob, b"others are as fast as ever")
        await bob.packet()
        assert clock.time() - begun < 0.35


async def test_silence_is_broken_by_keep_alives(serve: Serve) -> None:
    relay = serve(limits={"keep_alive": 0.05})
    async with login(port(relay), KEY) as alice:
        for _ in range(3):
            assert await alice.frame() == (KEEP_ALIVE, b"")


@pytest.mark.parametrize("limits", [{"nonsense": 1}, {"connections": -1}, {"per_prefix": 0.5}, {"keep_alive": -1}])
def test_limits_that_are_none_are_refused(serve: Serve, limits: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"limit|whole number"):
        serve(limits=limits)


def test_a_place_has_its_share_of_stun_answers_and_no_more(serve: Serve) -> None:
    relay = serve(limits={"stun_rate": 5, "limit_loopback": 1})
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.settimeout(LIMIT)
        udp.connect(relay.addresses()["stun"][0])
        for _ in range(20):
            udp.send(REQUEST)
        for _ in range(5):
            assert udp.recv(100)[8:20] == REQUEST[8:20]
        while (counters := relay.counters())["stun.limited"] + counters["stun.answered"] < 20:
            pass
    assert counters["stun.answered"] < 10
    assert counters["stun.limited"] > 10


async def test_of_what_waits_for_a_full_socket_the_oldest_data_go_and_all_the_rest_arrives(serve: Serve) -> None:
    relay = serve(write_timeout=60.0)
    async with login(port(relay), KEY) as alice, login(port(relay), KEY) as deaf:
        number = 0

        async def send_data(count: int) -> None:
            nonlocal number
            batch = range(number, number := number + count)
            await alice.send(b"".join(frame(SEND_PACKET, deaf.key + n.to_bytes(4, "big") * 300) for n in batch))

        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        async with asyncio.timeout(LIMIT):
            while relay.counters()["derp.drop.queue_head"] < 100:
                await send_data(50)
        await deaf.send(frame(PING, b"overload"))
        discos = [DISCO + bytes([n]) for n in range(3)]
        await alice.send(b"".join(frame(SEND_PACKET, deaf.key + disco) for disco in discos))
        await send_data(64)  # pushes out what waited before, but no disco
        await alice.settle()
        deaf.writer.transport.resume_reading()  # type: ignore[attr-defined]
        wanted = {(PONG, b"overload"), *((RECV_PACKET, alice.key + disco) for disco in discos)}
        wanted |= {(RECV_PACKET, alice.key + n.to_bytes(4, "big") * 300) for n in range(number - 32, number)}
        while wanted:
            wanted.discard(await deaf.frame())
    assert relay.counters()["derp.drop.queue_head_disco"] == 0
