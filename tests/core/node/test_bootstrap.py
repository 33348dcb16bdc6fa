"""Which relays are asked where DNS fails, and what of their answers counts."""

from ipaddress import ip_address
from typing import Any

from ginnel.core.node.bootstrap import RELAYS_ASKED, BootstrapRelay, BootstrapRelays, believed
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import Endpoint

PIN = "sha256-raw:" + "ab" * 32


def plain(_: object) -> None:
    """No shuffling."""


def node(name: str = "1a", **members: Any) -> DERPNode:
    given = {"ipv4": "192.0.2.1", "ipv6": "none", **members}
    return DERPNode(name, 1, given.pop("host_name", f"{name}.example"), **given)


def map_of(*nodes: DERPNode) -> DERPMap:
    return DERPMap(regions={1: DERPRegion(1, "a", "A", nodes=list(nodes)), 2: None})


def drawn(derp_map: DERPMap | None, kept: Any = None) -> list[BootstrapRelay]:
    relays = BootstrapRelays(plain)
    relays.map_changed(derp_map, kept or {})
    return relays.draw()


def test_a_relay_is_dialled_at_its_addresses_of_the_map_and_judged_as_the_map_says() -> None:
    found = drawn(map_of(node(ipv6="2001:db8::1", derp_port=8443, cert_name=PIN)))
    at = (Endpoint.parse("192.0.2.1:8443"), Endpoint.parse("[2001:db8::1]:8443"))
    assert found == [BootstrapRelay("1a", "1a.example", at, PIN)]


def test_one_that_the_map_names_alone_is_dialled_where_it_was_last() -> None:
    named = map_of(node(ipv4="", ipv6=""))
    assert drawn(named) == []
    (found,) = drawn(named, {"1a.example": [ip_address("192.0.2.7")]})
    assert found.addresses == (Endpoint.parse("192.0.2.7:443"),)


def test_one_whose_certificate_cannot_be_judged_or_that_has_no_https_is_not_asked() -> None:
    assert drawn(map_of(node("1a", insecure_for_tests=True), node("1b", stun_only=True), node("1c"))) == drawn(
        map_of(node("1c"))
    )


def test_without_a_map_nobody_is_asked() -> None:
    assert drawn(None) == []
    assert not BootstrapRelays(plain)


def test_some_are_asked_at_each_attempt_until_all_have_been() -> None:
    relays = BootstrapRelays(lambda row: row.reverse())
    relays.map_changed(map_of(*(node(f"1{letter}") for letter in "abcdefgh")), {})
    first, second, third = relays.draw(), relays.draw(), relays.draw()
    assert [relay.name for relay in first] == ["1h", "1g", "1f", "1e", "1d", "1c"]
    assert len(first) == RELAYS_ASKED
    assert [relay.name for relay in second] == ["1b", "1a"]
    assert third == first


def test_a_map_that_says_the_same_does_not_begin_again() -> None:
    relays = BootstrapRelays(plain)
    derp_map = map_of(*(node(f"1{letter}") for letter in "abcdefgh"))
    relays.map_changed(derp_map, {})
    relays.draw()
    relays.map_changed(derp_map, {})
    assert [relay.name for relay in relays.draw()] == ["1g", "1h"]


def believed_of(found: str, known: str = "") -> str:
    return " ".join(map(str, believed(map(ip_address, found.split()), map(ip_address, known.split()))))


def test_a_relay_sends_nobody_to_machines_of_his_own_network() -> None:
    inside = "127.0.0.1 ::1 10.0.0.1 192.168.1.1 169.254.1.1 100.64.0.1 fd00::1 fe80::1 0.0.0.0 224.0.0.1 192.0.2.1"
    assert believed_of(inside) == "192.0.2.1"
    assert believed_of(inside, "192.0.2.9") == "192.0.2.1"


def test_unless_the_host_is_known_to_be_there() -> None:
    assert believed_of("127.0.0.1 10.0.0.1 192.0.2.1", "192.168.7.7") == "10.0.0.1 192.0.2.1"
    assert believed_of("127.0.0.1 10.0.0.1", "127.0.0.1") == "127.0.0.1"
    assert believed_of("100.64.0.1 100.64.0.2", "100.64.0.1") == "100.64.0.1"
