"""Each test in a network namespace of its own, with real netlink."""

import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ginnel.core.node.routing import Routing
from ginnel.shell.node.netlink import Netlink
from ginnel.shell.node.router import Router, entries, ours

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


@pytest.fixture
def routers() -> Iterator[Callable[[], Router]]:
    made: list[Router] = []

    def make() -> Router:
        made.append(Router("gn0"))
        return made[-1]

    yield make
    for router in made:
        router.close()


Make = Callable[[], Router]


def tun() -> None:
    ip("tuntap", "add", "gn0", "mode", "tun")


def killed() -> None:
    """What the kernel does when the process that has the device dies."""
    ip("tuntap", "del", "gn0", "mode", "tun")


def ipv6_off() -> None:
    subprocess.run(["sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1"], check=True)


def table() -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for family in ("-4", "-6"):  # a table without routes does not exist, and ip calls that an error
        done = subprocess.run(["ip", "-j", family, "route", "show", "table", "52"], capture_output=True, check=False)
        found += json.loads(done.stdout or b"[]") if done.returncode == 0 else []
    return found


def routes() -> set[str]:
    return {route["dst"] for route in table() if route.get("type") != "unreachable"}


def refused() -> set[str]:
    return {route["dst"] for route in table() if route.get("type") == "unreachable"}


def addresses() -> set[str]:
    found = ip("addr", "show", "dev", "gn0")[0]["addr_info"]
    return {f"{a['local']}/{a['prefixlen']}" for a in found if a["scope"] == "global"}


def rules(family: str = "-4") -> list[tuple[int, str]]:
    return [(r["priority"], r.get("table") or r.get("action", "")) for r in ip(family, "rule")]


def way(address: str) -> str:
    done = subprocess.run(["ip", "route", "get", address], capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


OURS = [(5210, "main"), (5230, "default"), (5250, "unreachable"), (5270, "52")]
NAMED = {"100.64.0.2", "fd7a:115c:a1e0::2", "10.9.0.0/16", "100.100.100.100"}
OWN = {"100.64.0.1", "fd7a:115c:a1e0::1"}


def test_addresses_routes_and_rules_of_both_families_stand(routers: Make) -> None:
    tun()
    router = routers()
    router.apply(WANTED)
    assert router.problems == []
    assert addresses() == set(WANTED.addresses)
    assert routes() == NAMED
    assert refused() == NAMED | OWN
    for family in ("-4", "-6"):
        assert [rule for rule in rules(family) if 5000 < rule[0] < 6000] == OURS
    assert "UP" in ip("link", "show", "gn0")[0]["flags"]
    for address in ("100.64.0.2", "fd7a:115c:a1e0::2"):
        assert "dev gn0" in way(address)


def test_the_kernels_state_is_read_back_as_it_was_wanted(routers: Make) -> None:
    tun()
    routers().apply(WANTED)
    with Netlink() as netlink:
        index = socket.if_nametoindex("gn0")
        assert ours(netlink, index) == entries(WANTED, index)


ADDRESSES = st.frozensets(st.sampled_from(["100.64.0.1/32", "100.64.0.2/32", "fd7a:115c:a1e0::1/128"]))
ROUTES = st.frozensets(st.sampled_from(["100.64.0.2/32", "100.64.0.3/32", "10.9.0.0/16", "fd7a:115c:a1e0::2/128"]))


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.builds(Routing, ADDRESSES, ROUTES, st.booleans()), min_size=2, max_size=6))
def test_after_any_history_stands_what_was_wanted_last(routers: Make, history: list[Routing]) -> None:
    if "gn0" not in {link["ifname"] for link in ip("link")}:
        tun()
    router = routers()
    for wanted in history:
        router.apply(wanted)
        assert router.problems == []
    with Netlink() as netlink:
        index = socket.if_nametoindex("gn0")
        assert ours(netlink, index) == entries(history[-1], index)


def requests_of(router: Router) -> list[Any]:
    """What the router asks of the kernel from now on; it may look at nothing."""
    netlink = router._netlink
    assert netlink is not None
    sent: list[Any] = []
    perform = netlink.perform

    def noted(requests: Any) -> list[int]:
        sent.extend(requests)
        return perform(requests)

    netlink.perform = noted  # type: ignore[method-assign]
    netlink.dump = None  # type: ignore[assignment, method-assign]
    return sent


def test_a_second_time_changes_nothing_and_a_change_is_only_the_difference(routers: Make) -> None:
    tun()
    router = routers()
    router.apply(WANTED)
    requests = requests_of(router)
    router.apply(WANTED)
    assert requests == []
    router.apply(Routing(WANTED.addresses, (WANTED.routes - {"10.9.0.0/16"}) | {"100.64.0.3/32"}))
    assert len(requests) == 4
    assert (router.problems, routes()) == ([], (NAMED - {"10.9.0.0/16"}) | {"100.64.0.3"})
    assert refused() == routes() | OWN
    assert len(rules()) == 3 + len(OURS)


def test_what_was_removed_by_others_comes_back_once_that_is_known(routers: Make) -> None:
    tun()
    router = routers()
    router.apply(WANTED)
    ip("rule", "del", "priority", "5270")
    ip("route", "del", "100.64.0.2/32", "table", "52")
    ip("link", "set", "gn0", "down")
    router.moved()
    router.apply(WANTED)
    assert routes() == NAMED
    assert [rule for rule in rules() if 5000 < rule[0] < 6000] == OURS


def test_clear_takes_ours_and_leaves_foreign_entries(routers: Make) -> None:
    tun()
    ip("link", "add", "other", "type", "veth", "peer", "name", "other2")
    ip("link", "set", "other", "up")
    ip("route", "add", "100.99.0.0/24", "dev", "other", "table", "52")
    ip("rule", "add", "priority", "5270", "table", "52", "protocol", "99")
    ip("rule", "add", "priority", "5210", "fwmark", "0x80000/0xff0000", "table", "main")
    before = (rules("-4"), rules("-6"), table())
    router = routers()
    router.apply(WANTED)
    router.clear()
    router.clear()
    assert (rules("-4"), rules("-6"), table()) == before
    assert addresses() == set()
    assert router.problems == []


def test_after_a_crash_nothing_goes_out_in_the_clear_and_the_next_daemon_takes_over(routers: Make) -> None:
    """Threat G11: the device goes and its routes with it; packets for a peer must not follow the default route."""
    ip("link", "add", "wan", "type", "veth", "peer", "name", "wan2")
    ip("link", "set", "wan2", "up")
    ip("link", "set", "wan", "up")
    for family in ("-4", "-6"):
        ip(family, "route", "add", "default", "dev", "wan")
    assert "dev wan" in way("100.64.0.2")
    tun()
    routers().apply(WANTED)
    killed()
    for address in ("100.64.0.1", "100.64.0.2", "10.9.1.1", "fd7a:115c:a1e0::2", "100.100.100.100"):
        assert "dev wan" not in way(address)
        assert "No route to host" in way(address)
    tun()
    after = routers()
    after.apply(Routing(WANTED.addresses, frozenset({"100.64.0.2/32"})))
    assert (routes(), refused()) == ({"100.64.0.2"}, {"100.64.0.2"} | OWN)
    assert len(rules()) == 3 + len(OURS)
    after.clear()
    assert (table(), len(rules())) == ([], 3)
    assert "dev wan" in way("100.64.0.2")


def test_a_closed_tunnel_refuses_what_it_would_carry(routers: Make) -> None:
    tun()
    router = routers()
    router.apply(WANTED)
    router.apply(replace(WANTED, closed=True))
    assert (routes(), refused(), addresses()) == (set(), NAMED | OWN, set(WANTED.addresses))
    router.apply(WANTED)
    assert routes() == NAMED


def test_another_interface_of_the_same_name_gets_everything_anew(routers: Make) -> None:
    tun()
    router = routers()
    router.apply(WANTED)
    killed()
    tun()
    router.apply(WANTED)
    assert (routes(), refused(), addresses()) == (NAMED, NAMED | OWN, set(WANTED.addresses))
    assert router.problems == []


def test_rules_go_even_when_the_interface_is_gone(routers: Make) -> None:
    tun()
    routers().apply(WANTED)
    killed()
    routers().clear()
    assert (len(rules()), table()) == (3, [])


def test_without_ipv6_the_rest_stands(routers: Make) -> None:
    ipv6_off()
    tun()
    router = routers()
    router.apply(WANTED)
    assert addresses() == {"100.64.0.1/32"}
    assert {"100.64.0.2", "10.9.0.0/16"} <= routes()
    assert router.problems == []


def test_a_lost_interface_is_told_and_its_peers_are_refused(routers: Make) -> None:
    router = routers()
    router.apply(WANTED)
    assert router.problems == ["the interface gn0 is gone; restart ginneld"]
    assert refused() == NAMED | OWN


def test_what_the_kernel_refuses_is_told_in_a_few_lines(routers: Make) -> None:
    tun()
    ip("link", "set", "gn0", "up")
    for number in range(10, 20):
        ip("route", "add", f"100.64.0.{number}/32", "dev", "gn0", "table", "52")
    router = routers()
    router.apply(Routing(WANTED.addresses, frozenset(f"100.64.0.{number}/32" for number in range(10, 20))))
    assert router.problems[0] == "cannot add the route to 100.64.0.10/32: File exists"
    assert router.problems[3:] == ["and 7 more like it"]


def test_thousands_of_peers_are_routed_and_one_more_costs_no_look_at_them(routers: Make) -> None:
    tun()
    router = routers()
    many = frozenset(f"100.{64 + n // 65536}.{n // 256 % 256}.{n % 256}/32" for n in range(256, 4256))
    router.apply(Routing(WANTED.addresses, many))
    assert (router.problems, len(routes())) == ([], 4000)
    requests = requests_of(router)
    router.apply(Routing(WANTED.addresses, many | {"100.64.0.9/32"}))
    assert len(requests) == 2
    assert "100.64.0.9" in routes()
