"""Where a host is found when DNS fails, by a resolver and relays that say what the test wants."""

import asyncio
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from ginnel.core.node.bootstrap import RELAYS_AT_ONCE, BootstrapRelay
from ginnel.shell.node import host_finder
from ginnel.shell.node.dial import DialError, Untrusted
from ginnel.shell.node.host_finder import HostFinder, Seen
from ginnel.shell.node.host_memory import HostMemory
from ginnel.shell.node.remembered import FILE, RememberedFile
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import IpAddress

URL, HOST = "https://c.example", "c.example"
FAILED = Seen(why="no such name")


def relay_map(count: int = 1, **members: str) -> DERPMap:
    given = {"ipv4": "192.0.2.80", "ipv6": "none", **members}
    nodes = [DERPNode(f"1{letter}", 1, f"r{letter}.example", **given) for letter in "abcdefgh"[:count]]
    return DERPMap(regions={1: DERPRegion(1, "a", "A", nodes=nodes)})


class World:
    """`dns` and `told`: what the resolver and each relay say; None: nothing, for ever. `stands`: where the host is."""

    def __init__(self, directory: Path | None = None) -> None:
        self.dns: Seen | None = FAILED
        self.told: dict[str, Sequence[str] | None] = {}
        self.stands = {"192.0.2.1"}
        self.liars: set[str] = set()
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0
        self.dialled: list[tuple[str, ...]] = []
        self.changes = 0
        memory = HostMemory(RememberedFile(directory))
        self.finder = HostFinder(memory, look_up=self._look_up, ask=self._ask)
        self.finder.changed = self._changed
        self.finder.serve(URL)

    def _changed(self) -> None:
        self.changes += 1

    async def _look_up(self, host: str) -> Seen:
        return self.dns if self.dns is not None else await asyncio.Future()

    async def _ask(self, relay: BootstrapRelay, name: str) -> tuple[IpAddress, ...]:
        assert name == HOST
        self.asked.append(relay.name)
        self.at_once += 1
        self.most_at_once = max(self.at_once, self.most_at_once)
        try:
            await asyncio.sleep(0)
            told = self.told.get(relay.name, ())
            return tuple(map(ip_address, told)) if told is not None else await asyncio.Future()
        finally:
            self.at_once -= 1

    async def _dial(self, addresses: Sequence[str]) -> str:
        self.dialled.append(tuple(addresses))
        for address in addresses:
            if address in self.stands:
                return address
            if address in self.liars:
                raise Untrusted("the certificate of c.example:443 is not trusted: self-signed")
        raise DialError("nobody there")

    async def reach(self, **options: bool) -> str:
        async with asyncio.timeout(20):
            return await self.finder.reach(HOST, self._dial, (DialError,), **options)

    async def reach_by_dns(self, *addresses: str) -> None:
        self.dns = Seen(addresses)
        await self.reach()
        self.dns = FAILED
        self.dialled.clear()


async def test_dns_is_believed_first_and_no_relay_is_asked() -> None:
    world = World()
    world.finder.map_changed(relay_map())
    await world.reach_by_dns("192.0.2.1")
    assert (world.asked, world.finder.problems) == ([], [])


async def test_where_dns_fails_the_last_address_is_dialled_and_status_says_so() -> None:
    world = World()
    await world.reach_by_dns("192.0.2.1", "192.0.2.2")
    assert await world.reach() == "192.0.2.1"
    assert world.dialled == [("192.0.2.1", "192.0.2.2")]
    (line,) = world.finder.problems
    assert HOST in line
    assert "(no such name)" in line
    assert "at its last known address" in line
    assert world.changes == 1


async def test_dns_that_says_nothing_is_waited_for_only_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_finder, "SHORT_PATIENCE", 0.01)
    monkeypatch.setattr(host_finder, "PATIENCE", 0.01)
    world = World()
    await world.reach_by_dns("192.0.2.1")
    world.dns = None
    assert await world.reach() == "192.0.2.1"
    assert "no answer within" in world.finder.problems[0]


async def test_a_host_that_has_moved_is_found_by_a_relay() -> None:
    world = World()
    world.finder.map_changed(relay_map())
    await world.reach_by_dns("192.0.2.1")
    world.stands, world.told = {"192.0.2.5"}, {"1a": ["192.0.2.5"]}
    assert await world.reach() == "192.0.2.5"
    assert world.dialled == [("192.0.2.1",), ("192.0.2.5",)]
    assert "relay 1a (ra.example)" in world.finder.problems[0]
    world.dialled.clear()
    assert await world.reach() == "192.0.2.5"
    assert world.dialled == [("192.0.2.5",)], "who was found so is remembered"


async def test_all_relays_are_asked_two_at_a_time_until_one_knows() -> None:
    world = World()
    world.finder.map_changed(relay_map(6))
    world.told = dict.fromkeys(["1a", "1b", "1c", "1d", "1e", "1f"], ())
    with pytest.raises(DialError, match="neither its last known address nor a relay"):
        await world.reach()
    assert sorted(world.asked) == ["1a", "1b", "1c", "1d", "1e", "1f"]
    assert world.most_at_once == RELAYS_AT_ONCE
    world.told["1e"] = ["192.0.2.1"]
    assert await world.reach() == "192.0.2.1"


async def test_a_relay_that_knows_is_not_kept_waiting_by_one_that_hangs() -> None:
    world = World()
    world.finder.map_changed(relay_map(2))
    world.told = {"1a": None, "1b": ["192.0.2.1"]}
    assert await world.reach() == "192.0.2.1"
    assert world.at_once == 0, "the other one is asked no longer"


async def test_an_address_where_it_is_not_leads_to_the_next_relay() -> None:
    world = World()
    world.finder.map_changed(relay_map(4))
    world.told = {"1a": ["192.0.2.66"], "1b": ["192.0.2.66"], "1c": ["192.0.2.66"], "1d": ["192.0.2.1"]}
    assert await world.reach() == "192.0.2.1"
    assert world.dialled.count(("192.0.2.66",)) <= 1, "the same again is not dialled again"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "fd00::1", "169.254.1.1", "100.64.0.1"])
async def test_a_relay_cannot_send_us_into_our_own_network(address: str) -> None:
    world = World()
    world.finder.map_changed(relay_map())
    world.stands, world.told = {address}, {"1a": [address]}
    with pytest.raises(DialError):
        await world.reach()
    assert world.dialled == []


async def test_a_server_in_a_private_network_may_move_inside_it() -> None:
    world = World()
    world.finder.map_changed(relay_map())
    world.stands = {"10.0.0.1", "10.0.0.2"}
    await world.reach_by_dns("10.0.0.1")
    world.stands, world.told = {"10.0.0.2"}, {"1a": ["10.0.0.2"]}
    assert await world.reach() == "10.0.0.2"


async def test_no_relay_is_asked_where_nothing_would_prove_that_it_is_the_host() -> None:
    world = World()
    world.finder.map_changed(relay_map())
    world.told = {"1a": ["192.0.2.1"]}
    with pytest.raises(DialError, match="cannot be resolved"):
        await world.reach(ask_relays=False)
    assert world.asked == []


async def test_where_dns_gives_addresses_a_failure_is_the_hosts_and_nobody_else_is_asked() -> None:
    world = World()
    world.finder.map_changed(relay_map())
    world.told = {"1a": ["192.0.2.1"]}
    world.dns = Seen(("192.0.2.9",))
    with pytest.raises(DialError, match="nobody there"):
        await world.reach()
    assert (world.asked, world.finder.problems) == ([], [])


async def test_unless_somebody_else_answers_there() -> None:
    world = World()
    await world.reach_by_dns("192.0.2.1")
    world.dns, world.liars = Seen(("192.0.2.9",)), {"192.0.2.9"}
    assert await world.reach() == "192.0.2.1"
    assert "is not trusted" in world.finder.problems[0]
    await world.finder.look_again()
    assert world.finder.problems, "DNS still lies"
    world.dns = Seen(("192.0.2.1",))
    await world.finder.look_again()
    assert world.finder.problems == []


async def test_the_line_goes_when_dns_is_back() -> None:
    world = World()
    await world.reach_by_dns("192.0.2.1")
    await world.reach()
    await world.finder.look_again()
    assert world.finder.problems
    world.dns = Seen(("192.0.2.1",))
    await world.finder.look_again()
    assert (world.finder.problems, world.changes) == ([], 2)


async def test_an_address_needs_no_dns() -> None:
    world = World()
    for host in ("192.0.2.1", "::1", "localhost"):
        assert await world.finder.reach(host, _same, (DialError,)) == ()
    assert world.finder.memory.host("192.0.2.1") == ()


async def _same(addresses: Sequence[str]) -> Sequence[str]:
    return addresses


async def test_relays_that_the_map_only_names_keep_their_addresses() -> None:
    world = World()
    world.finder.map_changed(relay_map(ipv4="", ipv6=""))
    world.dns = Seen(("192.0.2.80",))
    assert await world.finder.resolve("ra.example") == ["192.0.2.80"]
    world.dns = FAILED
    assert await world.finder.resolve("ra.example") == ["192.0.2.80"]
    assert await world.finder.resolve("unknown.example") == []
    assert world.finder.problems == [
        "DNS does not lead to ra.example (no such name): last known addresses are used; `ginnel doctor` tells more"
    ]


async def test_of_many_relays_status_has_one_line() -> None:
    world = World()
    for name in ("ra.example", "rb.example", "rc.example"):
        world.finder.memory.found_relay(name, ["192.0.2.80"])
        await world.finder.resolve(name)
    (line,) = world.finder.problems
    assert "ra.example and 2 other relays" in line
    world.dns = Seen(("192.0.2.80",))
    await world.finder.look_again()
    assert world.finder.problems == []


async def test_a_relay_that_left_the_map_is_no_trouble_any_more() -> None:
    world = World()
    world.finder.memory.found_relay("gone.example", ["192.0.2.80"])
    await world.finder.resolve("gone.example")
    assert world.finder.problems
    world.finder.map_changed(relay_map())
    assert world.finder.problems == []


async def test_a_restart_without_dns_finds_all_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.finder.map_changed(relay_map(ipv4="", ipv6=""))
    await world.reach_by_dns("192.0.2.1")
    world.dns = Seen(("192.0.2.80",))
    await world.finder.resolve("ra.example")
    world.finder.memory.close()
    again = World(tmp_path)
    again.told = {"1a": ["192.0.2.5"]}
    assert await again.reach() == "192.0.2.1"
    assert await again.finder.resolve("ra.example") == ["192.0.2.80"]
    again.stands = {"192.0.2.5"}
    assert await again.reach() == "192.0.2.5", "the relay was dialled where it was last"
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


async def test_another_server_knows_nothing_of_this_one(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.finder.map_changed(relay_map())
    await world.reach_by_dns("192.0.2.1")
    await world.reach()
    world.finder.serve("https://d.example")
    assert (world.finder.memory.host(HOST), world.finder.memory.derp_map, world.finder.problems) == ((), None, [])
