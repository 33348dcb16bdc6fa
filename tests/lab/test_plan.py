from ipaddress import ip_address, ip_network

import pytest

from ginnel.lab.kinds import network
from ginnel.lab.plan import plan
from ginnel.lab.topology import INTERNET, OBSERVER, Host, Topology

DOCUMENTATION = [ip_network(net) for net in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")]
CARRIERS = ip_network("100.64.0.0/10")


def test_public_addresses_come_from_documentation_ranges():
    made = plan(network(a="none", b="easy", c="hard-random", d="udp-blocked"))
    public = [made.addresses[name] for name in ("server", OBSERVER, "a", "nat-b", "nat-c", "nat-d")]
    assert all(any(ip_address(address) in net for net in DOCUMENTATION) for address in public)


def test_a_carriers_customers_get_shared_addresses_outside_their_router():
    made = plan(network(a="double-nat"))
    assert ip_address(made.addresses["nat-a"]) in CARRIERS
    assert ip_address(made.addresses["a"]) not in CARRIERS
    assert any(ip_address(made.addresses["isp-a"]) in net for net in DOCUMENTATION)


def test_every_address_is_given_once():
    made = plan(network(a="easy", b="none", c="double-nat", d="full-cone", e="double-nat", f="easy"))
    addresses = [*made.addresses.values(), made.observer[1]]
    assert len(set(addresses)) == len(addresses)


def test_three_routers_of_the_internet_are_between_two_sites():
    made = plan(network(a="easy", b="none"))
    ends = {(below, above) for below, _, above, _ in made.veths}
    assert {("nat-a", "edge0"), ("b", "edge1"), ("edge0", INTERNET), ("edge1", INTERNET)} <= ends


def test_a_router_that_maps_ports_has_an_address_that_no_registry_reserves():
    made = plan(network(a="pcp"))
    assert not any(ip_address(made.addresses["nat-a"]) in net for net in DOCUMENTATION)
    assert ip_address(made.addresses["nat-a"]).is_global


def test_bridges_have_fixed_macs_of_their_own():
    made = plan(network(a="easy", b="easy"))
    bridges = [line for space in made.namespaces.values() for line in space.lines if "type bridge" in line]
    macs = [line.split("address ")[1].split()[0] for line in bridges]
    assert len(set(macs)) == len(macs) == 3


def test_more_sites_than_addresses_are_refused():
    with pytest.raises(ValueError, match="at most 126 such links"):
        plan(Topology((), tuple(Host(f"h{number}") for number in range(127))))


def test_ipv6_is_where_somebody_has_it_and_nowhere_else():
    made = plan(network(a="v6-only", b="dual-hard", c="easy"))
    assert set(made.addresses6) == {"server", OBSERVER, "nat-a", "a", "nat-b", "b"}
    assert not {"a", "nat-a"} & set(made.addresses)
    assert {"nat-b", "b", "nat-c", "c"} <= set(made.addresses)
    assert all(ip_address(address) in ip_network("2001:db8::/32") for address in made.addresses6.values())
    assert plan(network(c="easy")).addresses6 == {}


def test_addresses_of_ipv6_are_written_as_programs_show_them():
    made = plan(network(a="v6-stateful"))
    assert all(str(ip_address(address)) == address for address in (*made.addresses6.values(), *made.observer6))
