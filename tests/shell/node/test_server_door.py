"""The way to a real coordination server when DNS does not know its name."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from ginnel.shell.node.control_connection import ControlError
from ginnel.shell.node.dial import is_untrusted
from ginnel.shell.node.host_finder import HostFinder, Seen
from ginnel.shell.node.server_door import ServerDoor, WrongServer
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import MachineKey, MachinePrivate
from tests.shell.control.test_relayside import bound, server_at
from tests.shell.node.test_control_client import serving

HOST = "c.example"
PATIENCE = 20.0
ONE_RELAY = DERPMap(regions={1: DERPRegion(1, "a", "A", nodes=[DERPNode("1a", 1, "r", ipv4="192.0.2.1", ipv6="none")])})


class World:
    def __init__(self, port: int, key: MachineKey) -> None:
        self.url, self.key = f"http://{HOST}:{port}", key
        self.dns = Seen(why="no such name")
        self.asked = 0
        self.finder = HostFinder(look_up=self._look_up, ask=self._ask)
        self.finder.serve(self.url)
        self.finder.map_changed(ONE_RELAY)

    async def _look_up(self, _: str) -> Seen:
        return self.dns

    async def _ask(self, *_: object) -> tuple:
        self.asked += 1
        return (ip_address("127.0.0.1"),)

    def door(self, pinned: MachineKey | None) -> ServerDoor:
        return ServerDoor(self.url, MachinePrivate(os.urandom(32)), pinned, mark=0, finder=self.finder)

    async def comes_up(self, pinned: MachineKey | None) -> bool:
        async with asyncio.timeout(PATIENCE):
            try:
                connection = await self.door(pinned).open()
            except ControlError:
                return False
            connection.close()
            return True


@pytest.fixture
async def world() -> AsyncIterator[World]:
    short = Path(tempfile.mkdtemp(prefix="gn"))
    try:
        async with serving(short) as (server, url):
            world = World(int(url.rpartition(":")[2]), server.admin.joining.server_key)
            yield world
            world.finder.memory.close()
    finally:
        shutil.rmtree(short)


async def test_the_server_is_reached_where_it_was_last(world: World) -> None:
    assert not await world.comes_up(None)
    world.dns = Seen(("127.0.0.1",))
    assert await world.comes_up(None)
    world.dns = Seen(why="no such name")
    assert await world.comes_up(None)
    assert "at its last known address" in world.finder.problems[0]


async def test_relays_are_asked_only_where_the_server_has_a_key_to_prove_itself(world: World) -> None:
    """The relay's word is a loopback address, which counts because the server was at one before."""
    world.finder.memory.reached(HOST, ["127.1.1.1"])
    assert not await world.comes_up(None)
    assert world.asked == 0
    assert await world.comes_up(world.key)
    assert world.asked == 1
    assert "relay 1a" in world.finder.problems[0]


async def test_another_server_at_the_address_that_was_found_is_not_the_server_but_no_refusal_either(
    world: World,
) -> None:
    other = MachinePrivate(os.urandom(32)).public()
    world.finder.memory.reached(HOST, ["127.0.0.1"])
    assert not await world.comes_up(other)
    world.dns = Seen(("127.0.0.1",))
    with pytest.raises(WrongServer):
        await world.comes_up(other)


async def test_a_certificate_that_is_not_trusted_is_told_from_other_failures(tmp_path: Path) -> None:
    """DNS that lies is noticed by it alone."""
    private = MachinePrivate(os.urandom(32))
    async with server_at(tmp_path) as server:
        for port, expected in ((bound(server, "tls"), True), (bound(server, "http"), False)):
            door = ServerDoor(f"https://127.0.0.1:{port}", private, None, mark=0, finder=HostFinder())
            with pytest.raises(ControlError) as failed:
                await door.open()
            assert is_untrusted(failed.value) is expected
