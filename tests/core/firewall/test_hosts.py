import time
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ginnel.core.firewall.checked import is_public
from ginnel.core.firewall.hosts import Trust, for_level, hosts_of, own_hosts, relays_of, saas_hosts
from ginnel.core.firewall.needs import Level, Role, Service, Stability
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from tests.core.firewall.maps import derp_map, mesh, node, region

HTTPS, STUN, PORTAL = Service("tcp", 443), Service("udp", 3478), Service("tcp", 80)


def names(derp_map: DERPMap, **options: Any) -> list[str]:
    return [host.name for host in hosts_of(derp_map, **options)]


@pytest.mark.parametrize("n", range(1, 41))
def test_the_names_follow_the_map_however_many_regions_it_has(n: int) -> None:
    every = names(mesh(n))
    assert [name for name in every if "-all" in name] == [f"derp{i}-all.relays.example.com" for i in range(1, n + 1)]
    assert len(every) == 3 * n


def test_a_region_has_an_all_name_for_its_addresses_and_a_name_for_each_relay() -> None:
    every, first, second = hosts_of(mesh(1))
    assert (every.level, every.node, every.region, every.region_code) == (Level.L3, "", 1, "r1")
    assert [str(ip) for ip in every.addresses] == ["192.0.2.1", "2001:db8::1:61", "2001:db8::1:62"]
    assert (first.level, first.node, second.node) == (Level.SNI, "1a", "1b")
    assert [str(ip) for ip in first.addresses] == ["192.0.2.1", "2001:db8::1:61"]
    assert {host.stability for host in (every, first, second)} == {Stability.FAST}
    assert {host.role for host in (every, first, second)} == {Role.RELAY}


def test_a_region_that_was_taken_out_is_skipped() -> None:
    both = DERPMap(regions={1: region(1), 2: None, 3: region(3)})
    assert names(both) == ["derp1-all.relays.example.com", "derp1a.relays.example.com", "derp3-all.relays.example.com",
                           "derp3a.relays.example.com"]  # fmt: skip


@pytest.mark.parametrize(
    "relays",
    [
        [node(7, host_name="relay.example.com")],
        [node(7, "a"), node(7, "b", host_name="other.example.com")],
        [node(7, "a"), node(7, "b", zone="other.example")],
        [node(8, "a")],
        [node(7, "a", host_name="derp07a.example.com")],
        [node(7, "a", host_name="derp7a.com")],
        [node(7, "a"), node(7, "b", host_name="bad name")],
        [node(7, "a", host_name="192.0.2.1")],
    ],
)
def test_an_all_name_is_never_invented(relays: list[DERPNode]) -> None:
    only = DERPMap(regions={7: DERPRegion(7, "x", "X", nodes=relays)})
    assert not any("-all" in name for name in names(only))


def test_a_server_that_tells_its_zone_has_all_names_for_all_regions() -> None:
    found = hosts_of(
        derp_map(region(7, node(7, host_name="relay.example.net", ipv4="192.0.2.1"))), zone="own.example.org"
    )
    assert [host.name for host in found] == ["derp7-all.own.example.org", "relay.example.net"]
    assert found[0].addresses == found[1].addresses


@pytest.mark.parametrize("zone", ["x\ny", "-x", ".".join(["a" * 60] * 4), "1.2.3.4"])
def test_a_zone_that_is_no_name_is_left_out_and_said(zone: str) -> None:
    found = relays_of(derp_map(region(7, node(7, host_name="relay.example.net"))), zone=zone)
    assert [host.name for host in found.hosts] == ["relay.example.net"]
    assert found.problems[0].startswith("the zone of the relays' names is left out")


@pytest.mark.parametrize(
    ("members", "services"),
    [
        ({}, (HTTPS, STUN)),
        ({"can_port80": True}, (HTTPS, STUN, PORTAL)),
        ({"stun_port": -1}, (HTTPS,)),
        ({"stun_port": 3479, "derp_port": 8443}, (Service("tcp", 8443), Service("udp", 3479))),
        ({"stun_only": True}, (STUN,)),
        ({"derp_port": 80, "can_port80": True}, (PORTAL, STUN)),
    ],
)
def test_ports_are_those_of_the_map(members: dict[str, Any], services: tuple[Service, ...]) -> None:
    assert hosts_of(derp_map(region(1, node(1, **members))))[-1].services == services


@pytest.mark.parametrize(
    "members", [{"derp_port": 65536}, {"derp_port": -1}, {"stun_port": -2}, {"stun_port": 1 << 40}]
)
def test_a_relay_with_a_port_that_is_none_is_left_out_and_said(members: dict[str, Any]) -> None:
    found = relays_of(derp_map(region(1, node(1, **members), node(1, "b"))))
    assert [host.name for host in found.hosts] == ["derp1b.relays.example.com"]
    assert found.problems == ("relay 1a of region 1 is left out: its ports are no ports",)


def test_a_relay_that_only_has_an_address_has_no_name() -> None:
    (host,) = hosts_of(derp_map(region(1, node(1, host_name="192.0.2.9", ipv6="2001:db8::9"))))
    assert (host.name, [str(ip) for ip in host.addresses]) == ("", ["192.0.2.9", "2001:db8::9"])


def test_a_relay_by_name_alone_has_no_addresses() -> None:
    assert hosts_of(derp_map(region(1, node(1, ipv4="none"))))[-1].addresses == ()


def test_a_private_address_refuses_the_relay_unless_the_user_allows_it() -> None:
    lan = derp_map(region(1, node(1, ipv4="10.1.2.3")))
    refused = relays_of(lan)
    assert refused.hosts == ()
    assert refused.problems == ("relay 1a of region 1 is left out: 10.1.2.3 is not a public address",)
    assert len(hosts_of(lan, trust=Trust(allowed=(ip_network("10.0.0.0/8"),)))) == 2
    assert len(hosts_of(lan, trust=Trust(known=frozenset({ip_address("10.1.2.3")})))) == 2


def test_an_own_address_refuses_the_relay() -> None:
    own = Trust(own=frozenset({ip_address("192.0.2.1")}))
    assert hosts_of(derp_map(region(1, node(1, ipv4="192.0.2.1"))), trust=own) == ()


@pytest.mark.parametrize("number", [0, -1, 65536, 1 << 60])
def test_a_region_with_a_number_that_is_none_is_left_out_and_said(number: int) -> None:
    found = relays_of(DERPMap(regions={number: region(1)}))
    assert (found.hosts, len(found.problems)) == ((), 1)


hostile = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["derp1a.example.com", "a.b\n", "-x.y", "none", "", "192.0.2.1", "127.0.0.1", "::1", "2001:db8::1"]
    ),
)
nodes = st.builds(
    DERPNode, hostile, st.integers(-1, 70000), hostile, ipv4=hostile, ipv6=hostile, stun_test_ip=hostile,
    stun_port=st.integers(-2, 70000), derp_port=st.integers(-2, 70000), stun_only=st.booleans(),
    can_port80=st.booleans(),
)  # fmt: skip
regions = st.builds(DERPRegion, st.integers(-1, 70000), hostile, hostile, nodes=st.none() | st.lists(nodes, max_size=4))
maps = st.builds(DERPMap, regions=st.none() | st.dictionaries(st.integers(-1, 70000), st.none() | regions, max_size=5))


@settings(max_examples=300)
@given(maps, hostile)
def test_whatever_a_map_says_hosts_are_plain(hostile_map: DERPMap, zone: str) -> None:
    found = relays_of(hostile_map, zone=zone)
    for host in found.hosts:
        assert all(c.isalnum() or c in "-." for c in host.name + host.node + host.region_code)
        assert (host.name + host.node + host.region_code).isascii()
        assert not host.name.startswith("-")
        assert host.name or host.addresses
        assert all(map(is_public, host.addresses))
        assert all(0 < service.port < 65536 for service in host.services)
        assert 0 < host.region < 65536
    assert not any("\n" in line or len(line) > 300 for line in found.problems)


def test_ten_thousand_regions_are_read_in_a_moment_and_their_faults_told_in_few_lines() -> None:
    good = {n: region(n, *(node(n, c, ipv4="192.0.2.1", ipv6="2001:db8::1") for c in "ab")) for n in range(1, 10_001)}
    began = time.process_time()
    assert len(hosts_of(DERPMap(regions=good))) == 30_000
    assert time.process_time() - began < 5.0  # 0.9 s of one core was measured
    bad = {n: region(n, node(n, ipv4="127.0.0.1")) for n in range(1, 10_001)}
    problems = relays_of(DERPMap(regions=bad)).problems
    assert len(problems) == 21
    assert problems[-1] == "and 9980 more like these"


def test_a_firewall_that_resolves_names_takes_the_all_name_in_place_of_the_relays() -> None:
    every = saas_hosts() + hosts_of(
        derp_map(region(1, node(1), node(1, "b")), region(2, node(2, host_name="x.example")))
    )
    level3 = [host.name for host in for_level(every, Level.L3)]
    assert level3[4:] == ["derp1-all.relays.example.com", "x.example"]
    assert level3[:4] == [host.name for host in saas_hosts()]
    assert [host.name for host in for_level(every, Level.SNI)][4:] == [
        "derp1a.relays.example.com", "derp1b.relays.example.com", "x.example",
    ]  # fmt: skip


def test_the_vendors_service_has_exactly_four_names() -> None:
    assert {host.name for host in saas_hosts()} == {
        "login.tailscale.com", "controlplane.tailscale.com", "log.tailscale.com", "log.tailscale.io",
    }  # fmt: skip
    assert {host.stability for host in saas_hosts()} == {Stability.SLOW}
    assert all(host.needed_for and host.breaks for host in saas_hosts())


@pytest.mark.parametrize(
    ("url", "name", "address", "ports"),
    [
        ("https://vpn.example.com", "vpn.example.com", "", [443]),
        ("https://vpn.example.com:8443/", "vpn.example.com", "", [8443]),
        ("http://vpn.example.com:8080", "vpn.example.com", "", [8080, 443]),
        ("https://[2001:db8::1]", "", "2001:db8::1", [443]),
        ("http://192.168.1.5:8080", "", "192.168.1.5", [8080]),
    ],
)
def test_the_server_is_where_its_url_says(url: str, name: str, address: str, ports: list[int]) -> None:
    (host,) = own_hosts(url).hosts
    assert (host.name, host.role, [str(ip) for ip in host.addresses]) == (
        name,
        Role.CONTROL,
        [address] if address else [],
    )
    assert [service.port for service in host.services] == ports


def test_a_host_of_two_roles_is_there_once_with_both_uses() -> None:
    found = own_hosts("https://vpn.example.com:8443", logs=("vpn.example.com", "log.example.com")).hosts
    assert [(host.name, host.role) for host in found] == [
        ("vpn.example.com", Role.CONTROL), ("log.example.com", Role.LOG),
    ]  # fmt: skip
    assert "log-in" in found[0].needed_for
    assert "logs" in found[0].needed_for
    assert [service.port for service in found[0].services] == [8443, 443]


@pytest.mark.parametrize("url", ["https://server", "https://a_b.example.com", "https://x:99999", "ftp://x.example.com"])
def test_a_server_whose_name_is_none_is_left_out_and_said(url: str) -> None:
    found = own_hosts(url)
    assert found.hosts == ()
    assert found.problems[0].startswith("the control host is left out: ")
