"""The full DERP map from the fleet, the configuration and maps from elsewhere."""

from ginnel.core.control.derpmap import Standing, full_map, second_region
from ginnel.core.control.fleet_records import FleetRegion
from ginnel.wire.tailcfg import DERPHomeParams, DERPMap, DERPNode, DERPRegion

OWN = DERPRegion(900, "own", "Own relay", nodes=[DERPNode("900a", 900, "vpn.example.com", ipv4="192.0.2.1")])
OTHER = DERPRegion(7, "far", "Far away", nodes=[DERPNode("7a", 7, "far.example.com")])
FRA = {901: FleetRegion(901, "fra", "Frankfurt", 50.1, 8.7)}


def relay(name: str, draining: bool = False) -> Standing:
    return Standing(DERPNode(name, int(name[:-1]), f"{name}.example.com", ipv4="192.0.2.7"), draining)


def region(derp_map: DERPMap, number: int) -> DERPRegion:
    found = (derp_map.regions or {})[number]
    assert found is not None
    return found


def names(derp_map: DERPMap, number: int) -> list[str]:
    return [node.name for node in region(derp_map, number).nodes or ()]


def test_regions_stand_in_order() -> None:
    assert list(full_map([], {900: OWN, 7: OTHER}, [], {}).regions or {}) == [7, 900]


def test_a_second_address_is_a_region_of_its_own_with_a_relay_of_its_own() -> None:
    second = second_region(OWN, ("192.0.2.2",))
    assert second.region_id == 901
    assert second.nodes == [DERPNode("901a", 901, "vpn.example.com", ipv4="192.0.2.2", ipv6="none")]


def test_a_relay_of_the_fleet_stands_in_the_region_that_the_admin_named() -> None:
    fra = region(full_map([], {}, [relay("901a")], FRA), 901)
    assert (fra.region_code, fra.region_name, fra.latitude, fra.longitude) == ("fra", "Frankfurt", 50.1, 8.7)
    assert [node.name for node in fra.nodes or ()] == ["901a"]


def test_relays_of_the_fleet_join_a_region_that_the_configuration_has() -> None:
    assert names(full_map([], {900: OWN}, [relay("900b")], {}), 900) == ["900a", "900b"]


def test_a_later_map_wins_and_its_null_takes_a_region_out() -> None:
    first = DERPMap(regions={7: OTHER, 8: DERPRegion(8, "old", "Old")})
    later = DERPMap(regions={7: None, 8: DERPRegion(8, "new", "New")}, home_params=DERPHomeParams({8: 0.5}))
    both = full_map([first, later], {}, [], {})
    assert list(both.regions or {}) == [8]
    assert region(both, 8).region_code == "new"
    assert both.home_params == DERPHomeParams({8: 0.5})


def test_a_draining_relay_is_the_last_of_its_region() -> None:
    drained = full_map([], {900: OWN}, [relay("901a", True), relay("901b")], FRA)
    assert names(drained, 901) == ["901b", "901a"]
    assert not region(drained, 901).no_measure_no_home


def test_a_region_that_drains_as_a_whole_is_nobodys_home() -> None:
    drained = full_map([], {900: OWN}, [relay("901a", True)], FRA)
    assert region(drained, 901).no_measure_no_home
    assert not region(drained, 900).no_measure_no_home


def test_the_only_region_stays_a_home_while_it_drains() -> None:
    assert not region(full_map([], {}, [relay("901a", True)], FRA), 901).no_measure_no_home


def test_what_the_admin_says_of_a_region_from_elsewhere_holds() -> None:
    said = {7: FleetRegion(7, score=0.5, avoid=True, no_home=True)}
    changed = full_map([DERPMap(regions={7: OTHER})], {900: OWN}, [], said)
    far = region(changed, 7)
    assert (far.region_code, far.avoid, far.no_measure_no_home) == ("far", True, True)
    assert changed.home_params == DERPHomeParams({7: 0.5})
