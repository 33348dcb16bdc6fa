"""Each test in a network namespace of its own, with real netlink."""

import json
import os
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from ginnel.core.node.routing import Routing
from ginnel.shell.node.router import Router

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
NETNS = f"gn-router-{os.getpid()}"
WANTED = Routing(
    frozenset({"100.64.0.1/32", "fd7a:115c:a1e0::1/128"}),
    frozenset({"100.64.0.2/32", "fd7a:115c:a1e0::2/128", "10.9.0.0/16", "100.100.100.100/32"}),
)


def ip(*arguments: str) -> Any:
    done = subprocess.run(["ip", "-j", *arguments], capture_output=True, text=True, check=True)
    return json.loads(done.stdout) if done.stdout.strip() else []


@pytest.fixture(autouse=True)
def namespace() -> Iterator[None]:
    """This process enters a namespace of its own and comes back."""
    home = os.open("/proc/self/ns/net", os.O_RDONLY)
    subprocess.run(["ip", "netns", "add", NETNS], check=True)
    inside = os.open(f"/run/netns/{NETNS}", os.O_RDONLY)
    _enter(inside)
    try:
        yield
    finally:
        _enter(home)
        os.close(inside)
        os.close(home)
        subprocess.run(["ip", "netns", "del", NETNS], check=True)


def _enter(descriptor: int) -> None:
    import ctypes

    assert ctypes.CDLL(None, use_errno=True).setns(descriptor, 0x40000000) == 0


def tun() -> None:
    ip("tuntap", "add", "gn0", "mode", "tun")


def ipv6_off() -> None:
    subprocess.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)


def routes() -> set[str]:
    found: set[str] = set()
    for family in ("-4", "-6"):  # a table without routes does not exist, and ip calls that an error
        done = subprocess.run(["ip", "-j", family, "route", "show", "table", "52"], capture_output=True, check=False)
        found |= {route["dst"] for route in json.loads(done.stdout or b"[]")} if done.returncode == 0 else set()
    return found


def addresses() -> set[str]:
    found = ip("addr", "show", "dev", "gn0")[0]["addr_info"]
    return {f"{a['local']}/{a['prefixlen']}" for a in found if a["scope"] == "global"}


def rules(family: str = "-4") -> list[tuple[int, str]]:
    return [(r["priority"], r.get("table") or r.get("action", "")) for r in ip(family, "rule")]


OURS = [(5210, "main"), (5230, "default"), (5250, "unreachable"), (5270, "52")]


async def test_addresses_routes_and_rules_of_both_families_stand() -> None:
    tun()
    router = Router("gn0")
    await router.set(WANTED)
    assert router.problems == []
    assert addresses() == set(WANTED.addresses)
    assert routes() == {"100.64.0.2", "fd7a:115c:a1e0::2", "10.9.0.0/16", "100.100.100.100"}
    for family in ("-4", "-6"):
        assert [rule for rule in rules(family) if 5000 < rule[0] < 6000] == OURS
    assert "UP" in ip("link", "show", "gn0")[0]["flags"]


async def test_a_second_time_changes_nothing_and_a_change_is_only_the_difference() -> None:
    tun()
    router = Router("gn0")
    await router.set(WANTED)
    await router.set(WANTED)
    assert len(rules()) == 3 + len(OURS)
    await router.set(Routing(WANTED.addresses, frozenset({"100.64.0.3/32"})))
    assert (router.problems, routes()) == ([], {"100.64.0.3"})


async def test_what_was_removed_by_others_comes_back() -> None:
    tun()
    router = Router("gn0")
    await router.set(WANTED)
    ip("rule", "del", "priority", "5270")
    ip("route", "del", "100.64.0.2/32", "table", "52")
    await router.set(WANTED)
    assert "100.64.0.2" in routes()
    assert [rule for rule in rules() if 5000 < rule[0] < 6000] == OURS


async def test_clear_takes_ours_and_leaves_foreign_entries() -> None:
    tun()
    ip("link", "add", "other", "type", "veth", "peer", "name", "other2")
    ip("link", "set", "other", "up")
    ip("route", "add", "100.99.0.0/24", "dev", "other", "table", "52")
    ip("rule", "add", "priority", "5270", "table", "52", "protocol", "99")
    ip("rule", "add", "priority", "5210", "fwmark", "0x80000/0xff0000", "table", "main")
    before = (rules("-4"), rules("-6"), routes())
    router = Router("gn0")
    await router.set(WANTED)
    await router.clear()
    await router.clear()
    assert (rules("-4"), rules("-6"), routes()) == before
    assert addresses() == set()


async def test_after_a_crash_the_rules_left_behind_are_taken_over() -> None:
    tun()
    await Router("gn0").set(WANTED)
    ip("tuntap", "del", "gn0", "mode", "tun")  # the kernel does so when the daemon dies; the rules stay
    assert len(rules()) == 3 + len(OURS)
    tun()
    await Router("gn0").set(WANTED)
    assert len(rules()) == 3 + len(OURS)
    assert len(routes()) == 4
    await Router("gn0").clear()
    assert len(rules()) == 3


async def test_rules_go_even_when_the_interface_is_gone() -> None:
    tun()
    await Router("gn0").set(WANTED)
    ip("tuntap", "del", "gn0", "mode", "tun")
    await Router("gn0").clear()
    assert len(rules()) == 3


async def test_without_ipv6_the_rest_stands() -> None:
    ipv6_off()
    tun()
    router = Router("gn0")
    await router.set(WANTED)
    assert addresses() == {"100.64.0.1/32"}
    assert "100.64.0.2" in routes()
    assert router.problems == []


async def test_a_lost_interface_is_told() -> None:
    router = Router("gn0")
    await router.set(WANTED)
    assert router.problems == ["the interface gn0 is gone; restart ginneld"]
