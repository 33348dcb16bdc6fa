"""A relay that says nothing any more, while its machine still takes what it is sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.shell.derp_client import login
from tests.shell.derp_mesh import Node, Region, until
from tests.shell.test_pump_relay_moves import DISCO, REGION, Member

NOTICED_WITHIN = 5.5
"""Seconds; 8 are allowed until packets flow again."""


class Middle:
    """Carries a connection to a relay until it is told to swallow everything."""

    def __init__(self) -> None:
        self.port = 0
        self.swallows = False
        self.sent_up = 0

    async def carry(self, source: asyncio.StreamReader, to: asyncio.StreamWriter, *, up: bool) -> None:
        while data := await source.read(65536):
            self.sent_up += len(data) if up else 0
            if not self.swallows:
                to.write(data)
                await to.drain()


@asynccontextmanager
async def between(relay: Node) -> AsyncIterator[Middle]:
    middle = Middle()
    carried: list[asyncio.Task[None]] = []
    writers: list[asyncio.StreamWriter] = []

    async def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward = await asyncio.open_connection("127.0.0.1", relay.port)
        writers.extend([writer, onward[1]])
        carried.append(asyncio.create_task(middle.carry(reader, onward[1], up=True)))
        carried.append(asyncio.create_task(middle.carry(onward[0], writer, up=False)))

    server = await asyncio.start_server(accepted, "127.0.0.1", 0)
    middle.port = server.sockets[0].getsockname()[1]
    try:
        yield middle
    finally:
        server.close()
        for task in carried:
            task.cancel()
        await asyncio.gather(*carried, return_exceptions=True)
        for each in writers:
            each.transport.abort()
        await asyncio.gather(*(each.wait_closed() for each in writers), return_exceptions=True)


@pytest.fixture(name="member")
def _member() -> Iterator[Member]:
    member = Member()
    yield member
    member.pump.close()


async def test_a_relay_that_falls_silent_under_traffic_is_given_up_in_time(start: Region, member: Member) -> None:
    relay = start()
    clock = asyncio.get_running_loop()
    async with between(relay) as middle, login(relay.port, relay.key) as alice:
        member.pump.relay_open(REGION, "127.0.0.1", [("127.0.0.1", middle.port)], relay.peer[3])
        await member.event("relay-up")
        member.pump.relay_send(REGION, alice.key, DISCO)
        assert await alice.packet() == (member.key, DISCO)
        middle.swallows, begun = True, clock.time()
        member.pump.relay_send(REGION, alice.key, DISCO)
        assert (await member.event("relay-down"))[3] is True
        assert clock.time() - begun < NOTICED_WITHIN


async def test_a_relay_that_answers_pings_is_kept_however_long_nobody_else_answers(
    start: Region, member: Member
) -> None:
    """The ping is seen to go out, and packets still arrive after the time in which it would have been given up."""
    relay = start()
    async with between(relay) as middle, login(relay.port, relay.key) as alice:
        member.pump.relay_open(REGION, "127.0.0.1", [("127.0.0.1", middle.port)], relay.peer[3])
        await member.event("relay-up")
        member.pump.relay_send(REGION, alice.key, DISCO)
        await alice.packet()
        sent = middle.sent_up
        await until(lambda: relay.counters()["derp.pings"] > 0)
        assert middle.sent_up > sent
        idle = middle.sent_up
        await member.quiet(3.5)
        assert middle.sent_up == idle, "an idle connection is not asked"
        member.pump.relay_send(REGION, alice.key, DISCO)
        assert await alice.packet() == (member.key, DISCO)
        assert "relay-down" not in {event[0] for event in member.seen}
