"""What drives the keeper of a set: a set that goes, lists with problems, a run without an end."""

import asyncio
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from ipaddress import ip_address

from ginnel.core.firewall.sync import Sync
from ginnel.core.firewall.sync_words import FAMILIES, Answer, Family, Listing, Question, Saved, Settings, Tell, Wanted
from ginnel.shell.firewall.sets import SetError
from ginnel.shell.firewall.sync_audit import Audit
from ginnel.shell.firewall.sync_dns import DnsError
from ginnel.shell.firewall.sync_drive import PROBLEMS_TOLD, Keeper, now
from ginnel.words import IpAddress

RELAY = ip_address("203.0.113.9")


@dataclass
class FakeSet:
    """A set that a reload of the firewall takes away."""

    families: tuple[Family, ...] = FAMILIES
    batch: int = 100
    held: set[IpAddress] | None = None
    made: int = 0

    async def prepare(self) -> None:
        self.made += 1
        self.held = set()

    async def read(self) -> frozenset[IpAddress]:
        if self.held is None:
            raise SetError("no such set")
        return frozenset(self.held)

    async def change(self, adds: Collection[IpAddress], removes: Collection[IpAddress]) -> None:
        if self.held is None:
            raise SetError("no such set")
        self.held = self.held | set(adds) - set(removes)

    def save(self, saved: Saved) -> None:
        pass


@dataclass
class FakeSource:
    problems: tuple[str, ...] = ()

    async def listing(self, last_serial: int) -> Listing:
        return Listing((Wanted("derp1a.example.com", frozenset((RELAY,))),))


async def no_dns(question: Question) -> Answer:
    raise DnsError(f"nobody is asked for {question}")


@dataclass
class Bench:
    target: FakeSet = field(default_factory=FakeSet)
    source: FakeSource = field(default_factory=FakeSource)
    create: bool = True
    told: list[Tell] = field(default_factory=list)

    def keeper(self) -> Keeper:
        settings = Settings(list_every=1.0, read_every=1.0, ttl_least=1.0)
        machine = Sync(settings, Saved(), 0.0, now())
        audit = Audit(None, "", "")
        return Keeper(machine, self.target, self.source, no_dns, self.target, audit, self.told.append, self.create)


async def test_a_set_that_is_not_there_is_made_where_that_was_asked_for() -> None:
    """Also later: a reload of the rules may take it away, and a firewall may come up after us."""
    bench = Bench()
    await bench.keeper().once()
    assert bench.target.held == {RELAY}
    bench.target.held = None
    await bench.keeper().once()
    assert bench.target.held == {RELAY}
    assert bench.target.made == 2


async def test_a_set_that_is_not_there_is_not_made_unasked() -> None:
    bench = Bench(create=False)
    await bench.keeper().once()
    assert bench.target.made == 0
    assert "set-failed" in [tell.kind for tell in bench.told]


async def test_what_the_list_leaves_out_is_told_once() -> None:
    many = tuple(f"relay {number} is left out" for number in range(PROBLEMS_TOLD + 5))
    bench = Bench(source=FakeSource(many))
    keeper = bench.keeper()
    await keeper.once()
    said = [tell.text for tell in bench.told if tell.kind == "list-problem"]
    assert said == [*many[:PROBLEMS_TOLD], "and 5 more like these"]


async def test_one_who_watches_does_not_remember_every_address_for_ever() -> None:
    bench = Bench()
    keeper, ready = bench.keeper(), asyncio.Event()
    watching = asyncio.create_task(keeper.watch(ready.set))
    async with asyncio.timeout(10):
        await ready.wait()
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    assert bench.target.held == {RELAY}
    assert (keeper.added, keeper.counts["addresses.added"]) == (set(), 1)
