"""Random bytes at every door of the relay, below TLS, inside it and behind a login, while a pair goes on.

A seed replays a failure; RELAY_NOISE sets how many there are.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import ssl
from contextlib import suppress

import pytest

from ginnel.native import Relay
from tests.shell.derp_client import LIMIT, UPGRADE, Client, connect, frame, login, tls_context
from tests.shell.relays import KEY, Serve, port

SEEDS = int(os.environ.get("RELAY_NOISE", "25"))
HEADS = [
    UPGRADE + b"\r\n",
    UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n",
    b"GET /generate_204 HTTP/1.1\r\nX-Tailscale-Challenge: ",
    b"GET /bootstrap-dns HTTP/1.1\r\n\r\nGET /derp HTTP/1.1\r\n",
    b"\x16\x03\x01\x00\x05\x01\x00\x00\x01",
    b"\x16\x03\x01\x00\x01\x01",
    bytes.fromhex("0d0a0d0a000d0a515549540a2111000c"),
    b"",
]


def noise(rng: random.Random) -> bytes:
    """Bytes that look like something at first, some of the time."""
    parts = [rng.choice(HEADS)]
    for _ in range(rng.randrange(6)):
        body = rng.randbytes(rng.choice([0, 1, 8, 31, 32, 33, 500, 5000]))
        kind = rng.choice([rng.randrange(256), rng.randrange(1, 0x16)])
        claims = rng.choice([len(body), rng.randrange(70_000), 0xFFFFFFFF])
        parts.append(rng.choice([body, frame(kind, body), bytes([kind]) + claims.to_bytes(4, "big") + body]))
    return b"".join(parts)


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_noise_disturbs_nobody(serve: Serve, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    relay, rng = serve(handshake_timeout=1.0), random.Random(seed)
    async with login(port(relay), KEY) as alice, login(port(relay), KEY) as bob:
        going_on = asyncio.create_task(_go_on(alice, bob))
        await asyncio.gather(*(_bother(relay, random.Random(rng.random()), number) for number in range(24)))
        going_on.cancel()
        with suppress(asyncio.CancelledError):
            await going_on
        await alice.send_packet(bob, b"the end")
        while (await bob.packet())[1] != b"the end":
            pass
        async with asyncio.timeout(LIMIT):
            while len(relay.clients()) > 2:
                await alice.settle()
    assert "panicked" not in capfd.readouterr().err


async def _go_on(alice: Client, bob: Client) -> None:
    number = 0
    while True:
        number += 1
        await alice.send_packet(bob, number.to_bytes(8, "big"))
        assert await bob.packet() == (alice.key, number.to_bytes(8, "big"))


async def _bother(relay: Relay, rng: random.Random, number: int) -> None:
    with suppress(OSError, EOFError, ssl.SSLError):
        match number % 4:
            case 0:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
                    udp.sendto(noise(rng)[:1400], relay.addresses()["stun"][0])
            case 1:
                async with connect(port(relay, rng.choice(["tls", "http"])), tls=None) as raw:
                    await _speak(raw.writer, rng)
            case 2:
                async with connect(port(relay), tls=tls_context()) as raw:
                    await _speak(raw.writer, rng)
            case _:
                async with login(port(relay), KEY) as client:
                    await _speak(client.writer, rng)


async def _speak(writer: asyncio.StreamWriter, rng: random.Random) -> None:
    data = noise(rng)
    while data:
        size = rng.randrange(1, len(data) + 1)
        writer.write(data[:size])
        await writer.drain()
        data = data[size:]
