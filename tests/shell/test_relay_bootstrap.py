"""A relay's answer to clients whose DNS fails is kept filled: the resolver says what a test wants."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from ipaddress import IPv4Address

import pytest

from ginnel.core.relay.bootstrap import BootstrapNames
from ginnel.core.relaydns import hosts
from ginnel.core.relaydns.hosts import V4, V6, Lookup
from ginnel.shell.relay_bootstrap import BootstrapDns

PATIENCE = 20.0
FIRST, SECOND = IPv4Address("192.0.2.1"), IPv4Address("192.0.2.2")


class World:
    """`dns`: what the resolver says of each name; `told`: what the relay was given last."""

    def __init__(self, **options: frozenset[str]) -> None:
        self.dns: dict[str, V4] = {}
        self.asked: list[str] = []
        self.told: dict[str, list[str]] = {}
        self.hidden: dict[str, dict[str, list[str]]] = {}
        self._moved = asyncio.Condition()
        self.telling = BootstrapDns(self._serve, BootstrapNames(**options), self._look_up)

    async def _look_up(self, name: str) -> tuple[V4, V6]:
        self.asked.append(name)
        async with self._moved:
            self._moved.notify_all()
        return self.dns.get(name, Lookup.FAILED), Lookup.NONE

    def _serve(self, published: str, unpublished: Mapping[str, str]) -> None:
        self.told = json.loads(published)
        self.hidden = {name: json.loads(text) for name, text in unpublished.items()}

    async def asked_again(self, times: int) -> None:
        async with asyncio.timeout(PATIENCE), self._moved:
            wanted = len(self.asked) + times
            await self._moved.wait_for(lambda: len(self.asked) >= wanted)

    @asynccontextmanager
    async def running(self) -> AsyncIterator["World"]:
        task = asyncio.create_task(self.telling.run())
        try:
            yield self
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_names_are_asked_for_again_and_a_failure_leaves_the_last_good_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hosts, "ASK_EVERY", 0.0)
    world = World(published=frozenset({"a.example"}), unpublished=frozenset({"b.example"}))
    world.dns = {"a.example": (FIRST,), "b.example": (FIRST,)}
    async with world.running():
        await world.asked_again(3)
        assert world.told == {"a.example": ["192.0.2.1"]}
        assert world.hidden == {"b.example": {"b.example": ["192.0.2.1"]}}
        world.dns["a.example"] = Lookup.FAILED
        await world.asked_again(5)
        assert world.told == {"a.example": ["192.0.2.1"]}
        world.dns["a.example"] = (SECOND,)
        await world.asked_again(5)
        assert world.told == {"a.example": ["192.0.2.2"]}


async def test_a_name_that_comes_later_is_asked_for_at_once() -> None:
    world = World(published=frozenset({"a.example"}))
    world.dns = {"a.example": (FIRST,), "c.example": (SECOND,)}
    async with world.running():
        await world.asked_again(1)
        world.telling.publish(["c.example"])
        await world.asked_again(1)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert world.asked == ["a.example", "c.example"]
    assert world.told == {"a.example": ["192.0.2.1"], "c.example": ["192.0.2.2"]}
