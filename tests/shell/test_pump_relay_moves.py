"""A node's relay connection while its relay goes away: two relays of one region, the pump, a plain client."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest
from nacl.public import PrivateKey

from ginnel.native import Pump
from tests.shell.derp_client import LIMIT, SEND_PACKET, frame, login
from tests.shell.derp_mesh import Node, Region, mesh, meshed, sees, until

REGION = 1
BURST = 20
DISCO = b"TS\xf0\x9f\x92\xac" + bytes(80)


class Member:
    """A pump without a device, its events by kind."""

    def __init__(self) -> None:
        secret = PrivateKey.generate()
        self.key = bytes(secret.public_key)
        self.pump = Pump(bytes(secret))
        self.seen: list[tuple[object, ...]] = []

    async def event(self, kind: str) -> tuple[object, ...]:
        """The next event of this kind; others are kept."""
        async with asyncio.timeout(LIMIT):
            while True:
                self.seen += self.pump.drain(500)
                found = next((event for event in self.seen if event[0] == kind), None)
                if found is not None:
                    self.seen.remove(found)
                    return found
                await asyncio.sleep(0.001)

    async def quiet(self, seconds: float) -> None:
        """Let so much time pass; nothing tells of what does not happen."""
        end = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < end:
            self.seen += self.pump.drain(500)
            await asyncio.sleep(0.05)

    def open(self, node: Node) -> None:
        host, addresses, port, pin = node.peer
        self.pump.relay_open(REGION, host, [(addresses[0], port)], pin)

    def move(self, node: Node, *, pin: str | None = None) -> None:
        host, addresses, port, right = node.peer
        self.pump.relay_move(REGION, host, [(addresses[0], port)], pin or right)


@pytest.fixture(name="member")
def _member() -> Iterator[Member]:
    member = Member()
    yield member
    member.pump.close()


async def test_what_a_relay_says_of_itself_comes_up(start: Region, member: Member) -> None:
    a = start()
    member.open(a)
    await member.event("relay-up")
    a.native.set_health("the disk is full")
    assert await member.event("relay-health") == ("relay-health", REGION, "the disk is full")
    a.native.drain(2.0, 10.0)
    assert await member.event("relay-restarting") == ("relay-restarting", REGION, 2000, 10_000)
    a.native.set_health("")
    assert await member.event("relay-health") == ("relay-health", REGION, "")


async def test_no_packet_is_lost_either_way_when_a_node_moves_to_another_relay_of_its_region(
    start: Region, member: Member
) -> None:
    a, b = start(), start()
    mesh(a, b)
    await meshed(a, b)
    member.open(a)
    await member.event("relay-up")
    async with login(b.port, b.key) as bob:
        await sees(a, 1)
        await sees(b, 1)
        sent = [DISCO + number.to_bytes(2, "big") for number in range(400)]

        async def from_member() -> None:
            for number, packet in enumerate(sent):
                member.pump.relay_send(REGION, bob.key, packet)
                assert (await bob.packet())[1] == packet, "lost, or out of order"
                if number == 100:
                    member.move(b)

        async def to_member() -> None:
            for first in range(0, len(sent), BURST):
                burst = sent[first : first + BURST]
                await bob.send(b"".join(frame(SEND_PACKET, member.key + packet) for packet in burst))
                got = [(await member.event("relayed-disco"))[3] for _ in burst]
                assert set(got) == set(burst), "lost"  # what is on its way by the old relay may be overtaken

        await asyncio.gather(from_member(), to_member())
        up = await member.event("relay-up")
        assert up[2] == b.key
        await until(lambda: a.native.client_count() == 0)
        assert "relay-down" not in {event[0] for event in member.seen + member.pump.drain(500)}


async def test_a_move_that_fails_leaves_the_old_connection(start: Region, member: Member) -> None:
    a, b = start(), start()
    member.open(a)
    await member.event("relay-up")
    b.native.drain(0.0, 0.0)
    async with login(a.port, a.key) as alice:
        for _ in range(2):
            member.move(b)
        assert (await member.event("relay-stayed"))[1] == REGION
        assert b.counters()["derp.login_draining"] >= 1
        member.move(a, pin="sha256-raw:" + 64 * "0")
        assert "certificate" in str((await member.event("relay-stayed"))[2])
        member.pump.relay_send(REGION, alice.key, DISCO)
        assert await alice.packet() == (member.key, DISCO)
    assert "relay-down" not in {event[0] for event in member.seen + member.pump.drain(500)}


async def test_a_relay_that_restarts_in_its_place_is_moved_to_as_well(start: Region, member: Member) -> None:
    a = start()
    member.open(a)
    await member.event("relay-up")
    member.move(a)
    assert (await member.event("relay-up"))[2] == a.key
    await until(lambda: a.counters()["derp.login"] == 2 and a.native.client_count() == 1)


async def test_a_pump_that_closes_while_it_moves_is_closed(start: Region, member: Member) -> None:
    a = start()
    member.open(a)
    await member.event("relay-up")
    clock = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        member.pump.relay_move(REGION, "127.0.0.1", [("127.0.0.1", silent.getsockname()[1])], a.peer[3])
        begun = clock.time()
        await asyncio.to_thread(member.pump.close)
        assert clock.time() - begun < 5.0
