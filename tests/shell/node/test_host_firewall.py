"""The daemon's word on this host's firewall, from real rules in a namespace."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator

import pytest

from ginnel.core.node.actions import HealthCode
from ginnel.lab.namespace import Inside, enter_network, run
from ginnel.shell.node import host_firewall
from ginnel.shell.node.host_firewall import HostFirewall
from ginnel.shell.node.links import Links

pytestmark = pytest.mark.root
DROP = "table inet t { chain c { type filter hook input priority 0; policy drop; ct state established accept; }; }"
PORT = 41641
LIMIT = 30


class Engine:
    ports = (PORT, PORT)


class Network:
    links = Links()


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inside]:
    monkeypatch.setattr(host_firewall, "FIRST_LOOK", 0.0)
    monkeypatch.setattr(host_firewall, "QUIET", 0.01)
    monkeypatch.setattr(host_firewall, "SHARE", 0)
    name = f"gh{os.getpid()}"
    run(["ip", "netns", "add", name])
    made = Inside(name, lambda: enter_network(name))
    yield made
    made.close()
    run(["ip", "netns", "del", name])


def nft(rules: str) -> None:
    run(["nft", "-f", "-"], rules + "\n")


class Watched:
    """A watch at work, in the thread that is in the namespace."""

    def __init__(self) -> None:
        self.moved = asyncio.Event()
        self.firewall = HostFirewall(Engine, Network(), self.moved.set)

    async def until(self, *, blocked: bool) -> str:
        async with asyncio.timeout(LIMIT):
            while bool(self.firewall.health) != blocked:
                await self.moved.wait()
                self.moved.clear()
        return self.firewall.health.get(HealthCode.HOST_FIREWALL, "")


def watched(inside: Inside, scenario) -> None:  # type: ignore[no-untyped-def]
    async def run_it() -> None:
        made = Watched()
        task = asyncio.create_task(made.firewall.watch())
        try:
            await scenario(made)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    inside.call(asyncio.run, run_it())


def test_a_default_deny_firewall_is_told_with_the_command_and_goes_with_it(inside: Inside) -> None:
    async def scenario(made: Watched) -> None:
        line = await made.until(blocked=True)
        assert "UDP port 41641 (table inet t, chain c: policy drop)" in line
        assert line.count("`") == 2
        run(["sh", "-c", line.split("`")[1].removeprefix("sudo ")])
        assert await made.until(blocked=False) == ""

    inside.call(nft, DROP)
    watched(inside, scenario)


def test_rules_that_come_later_are_noticed(inside: Inside) -> None:
    async def scenario(made: Watched) -> None:
        assert made.firewall.health == {}
        while not made.firewall.health:  # from the first look on, whenever that is
            nft(f"flush ruleset\n{DROP}")
            async with asyncio.timeout(LIMIT):
                await made.moved.wait()
        assert "41641" in await made.until(blocked=True)
        nft("flush ruleset")
        await made.until(blocked=False)

    watched(inside, scenario)


def test_of_ufw_the_line_has_the_documented_command(inside: Inside) -> None:
    async def scenario(made: Watched) -> None:
        assert "run `sudo ufw allow 41641/udp`" in await made.until(blocked=True)

    inside.run(["iptables", "-P", "INPUT", "DROP"])
    inside.run(["iptables", "-N", "ufw-user-input"])
    inside.run(["iptables", "-A", "INPUT", "-j", "ufw-user-input"])
    watched(inside, scenario)


def test_where_several_commands_are_needed_ours_is_named(inside: Inside) -> None:
    async def scenario(made: Watched) -> None:
        assert "run `sudo ginnel firewall open --port 41641`" in await made.until(blocked=True)

    inside.call(nft, DROP + "\n" + DROP.replace("inet t", "inet other"))
    watched(inside, scenario)


def test_others_than_root_are_told_nothing(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    made = HostFirewall(Engine, Network(), lambda: None)
    asyncio.run(asyncio.wait_for(made.watch(), LIMIT))
    assert made.health == {}
