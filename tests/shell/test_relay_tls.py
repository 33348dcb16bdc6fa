"""What clients may do to the relay inside and below TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from nacl.public import PrivateKey

from ginnel.native import Relay
from tests.shell.derp_client import LIMIT, PING, PONG, RECV_PACKET, UPGRADE, Client, client_info, connect, frame, login
from tests.shell.relays import KEY, Serve, port
from tests.shell.tls_client import HANDSHAKE, HostileTls

KEY_UPDATE = bytes([24, 0, 0, 1, 1])  # "and update yours"


@asynccontextmanager
async def hostile_login(
    relay: Relay, keylog: Path, private: bytes | None = None
) -> AsyncIterator[tuple[HostileTls, bytes]]:
    """A login whose records are ours to make, and its node key."""
    private = private or bytes(PrivateKey.generate())
    async with HostileTls.connect(port(relay), keylog) as hostile:
        hostile.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + client_info(private, KEY))
        for _ in range(2):  # ServerKey, ServerInfo
            head = await hostile.read(5)
            await hostile.read(int.from_bytes(head[1:], "big"))
        yield hostile, bytes(PrivateKey(private).public_key)


@pytest.mark.parametrize("pieces", [1, 4], ids=["a byte", "the header"])
async def test_a_tls_message_in_pieces_ends_its_sender_alone(serve: Serve, tmp_path: Path, pieces: int) -> None:
    relay = serve()
    async with (
        login(port(relay), KEY) as alice,
        login(port(relay), KEY) as bob,
        hostile_login(relay, tmp_path / "keys") as (hostile, its_key),
    ):
        hostile.writer.write(hostile.record(HANDSHAKE, KEY_UPDATE[:pieces]))
        assert await hostile.ended()
        await alice.send_packet(its_key, b"to whoever that was")
        await alice.send_packet(bob, b"goes on")
        assert await bob.packet() == (alice.key, b"goes on")
        await gone(relay, alice, 2)


async def gone(relay: Relay, witness: Client, left: int) -> None:
    """Wait until so many logins are left."""
    async with asyncio.timeout(LIMIT):
        while len(relay.clients()) > left:
            await witness.settle()


async def test_a_key_update_is_followed(serve: Serve, tmp_path: Path) -> None:
    relay = serve()
    async with login(port(relay), KEY) as alice, hostile_login(relay, tmp_path / "keys") as (hostile, its_key):
        hostile.writer.write(hostile.record(HANDSHAKE, KEY_UPDATE))
        await alice.send_packet(its_key, b"under new keys")
        wanted = frame(RECV_PACKET, alice.key + b"under new keys")
        assert await hostile.read(len(wanted)) == wanted


@pytest.mark.parametrize("garbage", ["ff03030001ff", "16030300001603030000", "1503030002022a"])
async def test_half_a_hello_and_then_garbage_is_a_failed_handshake(serve: Serve, garbage: str) -> None:
    relay = serve()
    async with connect(port(relay), tls=None) as raw:
        await raw.send(bytes.fromhex("160301000101" + garbage))
        assert await raw.ended()
    assert relay.counters()["door.handshake_failed"] == 1


async def test_garbage_behind_a_message_in_pieces_ends_its_sender_alone(serve: Serve, tmp_path: Path) -> None:
    relay = serve()
    async with login(port(relay), KEY) as alice, hostile_login(relay, tmp_path / "keys") as (hostile, _):
        hostile.writer.write(hostile.record(HANDSHAKE, KEY_UPDATE[:1]) + b"\x17\x03\x03\x00\x20" + bytes(32))
        assert await hostile.ended()
        await gone(relay, alice, 1)


async def test_pings_that_come_together_are_answered_together(serve: Serve, tmp_path: Path) -> None:
    """One write for each would cost the relay a system call and a TCP packet for every 13 bytes."""
    relay = serve()
    async with hostile_login(relay, tmp_path / "keys") as (hostile, _):
        pings = b"".join(frame(PING, number.to_bytes(8, "big")) for number in range(1000))
        hostile.send(pings)
        answer = await hostile.read(len(pings))
        assert answer == b"".join(frame(PONG, number.to_bytes(8, "big")) for number in range(1000))
        assert hostile.records_read <= 2 + 2  # two of the login


async def test_who_is_closed_is_told_so_inside_tls(serve: Serve, tmp_path: Path) -> None:
    relay = serve(members_only=True)
    private = bytes(PrivateKey.generate())
    relay.set_members([bytes(PrivateKey(private).public_key)])
    async with hostile_login(relay, tmp_path / "keys", private) as (hostile, its_key):
        relay.remove_member(its_key)
        assert await hostile.goodbye()
