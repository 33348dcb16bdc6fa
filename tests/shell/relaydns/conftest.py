"""A relay DNS on loopback, its map in a test's hands."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ginnel.shell.relaydns.config import RelayDnsConfig, checked
from ginnel.shell.relaydns.resolve import Resolver
from ginnel.shell.relaydns.service import RelayDns
from ginnel.wire.tailcfg import DERPMap
from tests.core.relaydns.relay_names import ZONE, derp_map, relays


class World:
    """`map` may change behind the server's back. `hosts`: what the resolver finds; a missing one fails."""

    def __init__(self, state: Path) -> None:
        self.map = derp_map(relays(1, 2))
        self.hosts: dict[tuple[str, socket.AddressFamily], list[str]] = {}
        self.state = state

    def _addresses(self, host: str, family: socket.AddressFamily) -> list[str]:
        try:
            return self.hosts[host, family]
        except KeyError:
            raise socket.gaierror(socket.EAI_AGAIN, "for this test") from None

    def make(self, **settings: object) -> RelayDns:
        given = {"zone": ZONE, "listen": ("127.0.0.1:0",), "ns": {"ns1.relays.example.com": ("127.0.0.1",)}}
        config = RelayDnsConfig(**{**given, **settings})
        return RelayDns(
            checked(config, "127.0.0.1", ()), self.state, lambda: self.map, lambda: Resolver(self._addresses)
        )

    def change(self, served: RelayDns, new: DERPMap) -> None:
        self.map = new
        served.changed(new)


Start = Callable[..., "object"]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


@pytest.fixture
async def start(world: World) -> AsyncIterator[Start]:
    """`await start(**settings)` gives a served RelayDns."""
    async with AsyncExitStack() as stack:

        async def one(**settings: object) -> RelayDns:
            served = world.make(**settings)
            await served.start()
            stack.push_async_callback(served.close)
            return served

        yield one
