"""A DERP map is checked as a whole, and regions have an address of their own."""

import pytest

from ginnel.wire.derpmap import home_region, magic_endpoint, problems, region_of
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion, Node
from ginnel.words import Endpoint, NodeKey

PIN = "sha256-raw:" + "0a" * 32


def relay_map(**changes):
    node = {"name": "900a", "region_id": 900, "host_name": "relay.example", "ipv4": "192.0.2.1", "ipv6": "none"}
    region = DERPRegion(900, "own", "own", nodes=[DERPNode(**{**node, "cert_name": PIN, **changes})])
    return DERPMap(regions={900: region, 1: None})


def test_a_good_map_has_no_problems():
    assert problems(relay_map()) == []
    assert problems(DERPMap()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"region_id": 901}, "RegionID says 901"),
        ({"host_name": ""}, "HostName"),
        ({"stun_port": -2}, "STUNPort"),
        ({"stun_port": 65536}, "STUNPort"),
        ({"derp_port": -1}, "DERPPort"),
        ({"cert_name": PIN[:-1]}, "CertName"),
        ({"cert_name": PIN[:-1] + "A"}, "CertName"),
        ({"ipv4": "2001:db8::1"}, "IPv4 holds an IPv6"),
        ({"ipv6": "192.0.2.1"}, "IPv6 holds an IPv4"),
        ({"name": ""}, "no name"),
    ],
)
def test_each_problem_is_named(changes, words):
    assert [line for line in problems(relay_map(**changes)) if words in line]


def test_region_ids_and_names_are_checked():
    nodes = [DERPNode("a", 70000, "h"), DERPNode("a", 70000, "h")]
    found = "\n".join(problems(DERPMap(regions={70000: DERPRegion(3, "", "x", nodes=nodes)})))
    for words in ("between 1 and 65535", "RegionID says 3", "RegionCode", "'a' is also used"):
        assert words in found


def test_a_node_name_is_used_in_one_region_only():
    regions = {n: DERPRegion(n, "c", "n", nodes=[DERPNode("a", n, "h")]) for n in (1, 2)}
    assert problems(DERPMap(regions=regions)) == ["region 2: the node name 'a' is also used in region 1"]


def test_a_magic_endpoint_stands_for_a_region():
    assert str(magic_endpoint(900)) == "127.3.3.40:900"
    assert region_of(magic_endpoint(900)) == 900
    assert region_of(Endpoint.parse("192.0.2.1:900")) is None
    assert region_of(Endpoint.parse("127.3.3.40:0")) is None


@pytest.mark.parametrize(
    ("home", "legacy", "region"),
    [(900, "", 900), (0, "127.3.3.40:7", 7), (5, "127.3.3.40:7", 5), (0, "", 0), (0, "junk", 0), (0, "192.0.2.1:7", 0)],
)
def test_the_home_region_may_come_in_the_older_form(home, legacy, region):
    node = Node(1, "n1", "a.", 1, NodeKey(bytes(32)), [], home_derp=home, legacy_derp=legacy)
    assert home_region(node) == region
