"""What of the map gets into the allowlist."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from ginnel.core.control.allowlist_entries import ServerNames, entries_of, relay_entry, tokens
from ginnel.core.relaydns.zone import NameServer, ZoneSettings, zone_of
from ginnel.wire.allowlist import Entry, Feed, FeedPrivate, sign_feed, verify_feed
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import WallTime

SERVER = ServerNames("vpn.example.com", logs=("log.example.com",))


def region(number: int, *nodes: DERPNode, code: str = "fra") -> DERPRegion:
    return DERPRegion(number, code, "Somewhere", nodes=list(nodes))


def node(number: int, letter: str = "a", **more: object) -> DERPNode:
    named = {"host_name": f"r{number}{letter}.example.net", "ipv4": f"192.0.2.{number}", "ipv6": f"2001:db8::{number}"}
    return DERPNode(**{"name": f"{number}{letter}", "region_id": number, **named, **more})  # type: ignore[arg-type]


def relays(*regions: DERPRegion, **more: object) -> list[Entry]:
    found = entries_of(DERPMap(regions={r.region_id: r for r in regions}), SERVER, **more)  # type: ignore[arg-type]
    return [entry for entry in found if entry.role == "relay"]


def test_the_servers_own_names_are_slow_and_the_relays_fast() -> None:
    found = entries_of(DERPMap(regions={1: region(1, node(1))}), SERVER)
    assert [(entry.name, entry.role, entry.stability, entry.ports) for entry in found] == [
        ("vpn.example.com", "control", "slow", ("443/tcp",)),
        ("vpn.example.com", "login", "slow", ("443/tcp",)),
        ("log.example.com", "log", "slow", ("443/tcp",)),
        ("r1a.example.net", "relay", "fast", ("443/tcp", "3478/udp")),
    ]


def test_the_ports_are_the_maps() -> None:
    usual, own, none, stun = relays(
        region(1, node(1, can_port80=True)), region(2, node(2, derp_port=8443, stun_port=3479)),
        region(3, node(3, stun_port=-1)), region(4, node(4, stun_only=True)),
    )  # fmt: skip
    assert usual.ports == ("443/tcp", "3478/udp", "80/tcp")
    assert own.ports == ("8443/tcp", "3479/udp")
    assert none.ports == ("443/tcp",)
    assert stun.ports == ("3478/udp",)


def test_a_host_that_is_an_address_has_no_name_and_is_level_3() -> None:
    (found,) = relays(region(1, node(1, host_name="198.51.100.9", ipv4="", ipv6="none")))
    assert (found.name, found.level, found.ipv4, found.ipv6) == ("", "L3", (IPv4Address("198.51.100.9"),), ())
    assert found.node == "1a"


@pytest.mark.parametrize("count", [1, 25, 40])
def test_with_a_zone_each_region_has_a_name_for_all_its_relays_whatever_their_number(count: int) -> None:
    regions = {n: region(n, node(n), node(n, "b", ipv4=f"198.51.100.{n}")) for n in range(1, count + 1)}
    derp_map = DERPMap(regions=regions)
    settings = ZoneSettings("relays.example.com", (NameServer("ns.example.com"),))
    found = entries_of(derp_map, SERVER, zone_of(derp_map, settings), "relays.example.com")
    every = {entry.name: entry for entry in found if entry.level == "L3"}
    assert list(every) == [f"derp{n}-all.relays.example.com" for n in range(1, count + 1)]
    first = every["derp1-all.relays.example.com"]
    assert first.ipv4 == (IPv4Address("192.0.2.1"), IPv4Address("198.51.100.1"))
    assert first.ipv6 == (IPv6Address("2001:db8::1"),)
    assert (first.node, first.region, first.region_code) == ("", 1, "fra")


def test_a_region_that_the_map_has_no_more_is_left_out() -> None:
    assert [entry.region for entry in relays(region(1, node(1)), region(3, node(3)))] == [1, 3]
    assert entries_of(DERPMap(regions={1: None}), ServerNames("")) == ()


@pytest.mark.parametrize(
    "bad", ["-x.example", "a b", "a\nb", "$(reboot)", "é.example", "a..b", "*", "x" * 300, "fe80::1%eth0"]
)
def test_a_host_name_that_is_none_costs_the_relay_its_name_and_nobody_else_anything(bad: str) -> None:
    first, second = relays(region(1, node(1, host_name=bad)), region(2, node(2)))
    assert (first.name, first.ipv4) == ("", (IPv4Address("192.0.2.1"),))
    assert second.name == "r2a.example.net"
    assert relays(region(1, node(1, host_name=bad, ipv4="none", ipv6="none"))) == []


def test_whatever_a_map_from_elsewhere_says_the_feed_can_be_read() -> None:
    odd = region(
        1, node(1, host_name="R1.Example.NET.", name="../1a\n", derp_port=70000, stun_port=99999), code="f r\na"
    )
    found = entries_of(DERPMap(regions={1: odd}), SERVER)
    private = FeedPrivate(bytes(32))
    feed = Feed("https://vpn.example.com", 1, 0, 10, found)
    assert verify_feed(sign_feed(feed, private), private.public(), 0, WallTime(1.0)) == feed
    assert found[-1].name == "r1.example.net"
    assert (found[-1].node, found[-1].region_code, found[-1].ports) == ("", "", ("443/tcp", "3478/udp"))


def test_tokens_name_each_way_by_itself() -> None:
    assert tokens(relay_entry(node(1, ipv6="none"), region(1))) == {
        "r1a.example.net 443/tcp", "r1a.example.net 3478/udp", "192.0.2.1 443/tcp", "192.0.2.1 3478/udp",
    }  # fmt: skip
