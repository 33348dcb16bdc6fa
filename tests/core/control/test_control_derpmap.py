"""The DERP map from our relay, its second address and the operator's regions."""

from ginnel.core.control.derpmap import derp_map_of
from ginnel.wire.tailcfg import DERPNode, DERPRegion

OWN = DERPRegion(900, "own", "Own relay", nodes=[DERPNode("900a", 900, "vpn.example.com", ipv4="192.0.2.1")])
OTHER = DERPRegion(7, "far", "Far away", nodes=[DERPNode("7a", 7, "far.example.com")])


def test_regions_stand_in_order() -> None:
    assert list(derp_map_of(OWN, (), {7: OTHER}).regions or {}) == [7, 900]


def test_a_second_address_is_a_region_of_its_own_with_a_relay_of_its_own() -> None:
    regions = derp_map_of(OWN, ("192.0.2.2",), {}).regions or {}
    second = regions[901]
    assert second is not None
    assert second.nodes == [DERPNode("901a", 901, "vpn.example.com", ipv4="192.0.2.2", ipv6="none")]


def test_an_operators_region_wins_over_ours() -> None:
    other = DERPRegion(900, "x", "x", nodes=[])
    assert (derp_map_of(OWN, (), {900: other}).regions or {})[900] is other
