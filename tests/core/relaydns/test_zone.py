"""The zone as a function of the DERP map."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.relaydns.zone import (
    HostAddresses,
    NameServer,
    ZoneSettings,
    hosts_to_resolve,
    is_within,
    labelled,
    letters,
    zone_of,
)
from ginnel.wire.dns import AAAA, NS, SOA, A, name_of
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap
from tests.core.relaydns.relay_names import (
    SETTINGS,
    addresses,
    both,
    derp_map,
    name,
    node,
    region,
    relays,
    zone,
)


def test_each_relay_has_its_name_and_the_region_has_one_address_for_each_of_both_families():
    found = zone(region(1, both("1a", 1), both("1b", 2), node("1c", "192.0.2.3", "none")), region(40, both("40f", 9)))
    assert addresses(found, "derp1a", A) == ["192.0.2.1"]
    assert addresses(found, "derp1a", AAAA) == ["2001:db8::1"]
    assert addresses(found, "derp1-all", A) == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert addresses(found, "derp1-all", AAAA) == ["2001:db8::1", "2001:db8::2"]
    assert addresses(found, "derp40f", A) == addresses(found, "derp40-all", A) == ["192.0.2.9"]
    assert not found.unknown


@given(st.integers(1, 60), st.integers(0, 60))
def test_all_has_as_many_addresses_as_the_region_has_relays(number, count):
    found = zone(relays(number, count))
    assert len(addresses(found, f"derp{number}-all", A)) == len(addresses(found, f"derp{number}-all", AAAA)) == count
    assert sum(1 for _ in found.relay_names()) == (count + 1 if count else 0)


def test_a_region_that_is_null_has_no_names():
    found = zone_of(DERPMap(regions={1: None, 2: region(2, both("2a", 1))}), SETTINGS)
    assert name("derp1-all") not in found.records
    assert name("derp2-all") in found.records


def test_relays_of_other_names_get_letters_that_are_free():
    mixed = region(3, node("fra"), node("3a"), node("3c"), node("3a"), node("4b"), node("03b"))
    assert [label for label, _ in labelled(3, mixed)] == ["3b", "3a", "3c", "3d", "3e", "3f"]


def test_letters_go_on_behind_z():
    assert [letters(i) for i in (0, 25, 26, 51, 52, 701, 702)] == ["a", "z", "aa", "az", "ba", "zz", "aaa"]


def test_no_ttl_is_above_that_of_the_settings():
    found = zone(relays(1, 3), settings=ZoneSettings("z.example", (NameServer("ns.example.net"),), ttl=300))
    assert {s.ttl for sets in found.records.values() for s in sets.values()} == {300}


def test_the_apex_has_soa_and_ns_and_the_name_servers_of_the_zone_have_glue():
    found = zone(serial=99)
    soa = found.records[found.origin][SOA].data[0]
    assert soa.startswith(name("ns1") + name("hostmaster"))
    assert int.from_bytes(soa[-20:-16], "big") == 99
    assert set(found.records[found.origin][NS].data) == {name("ns1"), name_of("ns2.example.net")}
    assert addresses(found, "ns1", A) == ["198.51.100.53"]
    assert addresses(found, "ns1", AAAA) == ["2001:db8::53"]


def test_names_between_a_name_server_and_the_apex_are_there_without_records():
    deep = ZoneSettings("z.example", (NameServer("a.b.z.example", (ip_address("192.0.2.1"),)),))
    assert zone_of(DERPMap(), deep).records[name_of("b.z.example")] == {}


def test_the_digest_is_of_what_changes_and_not_of_the_serial():
    assert zone(relays(1, 2), serial=1).digest() == zone(relays(1, 2), serial=2).digest()
    assert zone(relays(1, 2)).digest() != zone(relays(1, 3)).digest()
    assert (
        zone(relays(1, 2)).digest()
        != zone(relays(1, 2), settings=ZoneSettings("relays.example.com", SETTINGS.name_servers, 61)).digest()
    )


# --- relays that the map names without addresses --------------------------------------------------------------


def test_only_hosts_of_other_zones_without_literals_are_asked_for():
    asked = derp_map(
        region(1, node("1a", "192.0.2.1", "none"), node("1b", host="R.Example.Net."), node("1c", host="203.0.113.7")),
        region(2, node("2a", "192.0.2.1", host="v6.example.net"), node("2b", host="derp2b.relays.example.com")),
    )
    assert hosts_to_resolve(asked, SETTINGS) == {"r.example.net", "v6.example.net"}


def test_learnt_addresses_count_as_literals_do():
    asked = derp_map(region(1, both("1a", 1), node("1b", host="r.example.net"), node("1c", host="203.0.113.7")))
    learnt = {"r.example.net": HostAddresses((ip_address("198.51.100.1"), ip_address("198.51.100.2")), ())}
    found = zone_of(asked, SETTINGS, learnt)
    assert addresses(found, "derp1b", A) == ["198.51.100.1", "198.51.100.2"]
    assert addresses(found, "derp1c", A) == ["203.0.113.7"]
    assert addresses(found, "derp1-all", A) == ["192.0.2.1", "198.51.100.1", "198.51.100.2", "203.0.113.7"]
    assert not found.unknown


def test_what_is_not_known_yet_is_unknown_and_not_empty():
    found = zone_of(derp_map(region(1, both("1a", 1), node("1b", host="r.example.net"))), SETTINGS)
    assert found.unknown == {(name(label), rtype) for label in ("derp1b", "derp1-all") for rtype in (A, AAAA)}
    assert addresses(found, "derp1-all", A) == ["192.0.2.1"]


def test_a_foreign_host_adds_a_bounded_number_of_addresses():
    many = HostAddresses(tuple(ip_address(f"198.51.100.{i}") for i in range(1, 18)), ())
    found = zone_of(derp_map(region(1, node("1a", host="r.example.net"))), SETTINGS, {"r.example.net": many})
    assert len(addresses(found, "derp1a", A)) == 16


@pytest.mark.parametrize("host", ["derp1a.relays.example.com", "", "a b", "x" * 64, "\udcff", "ü.example"])
def test_a_relay_whose_host_cannot_be_asked_for_is_told(host):
    found = zone_of(derp_map(region(1, node("1a", host=host))), SETTINGS)
    assert len(found.problems) == 1
    assert "1a" in found.problems[0]
    assert (name("derp1a"), A) in found.unknown


def test_settings_that_are_no_names_are_refused():
    with pytest.raises(WireError):
        zone_of(DERPMap(), ZoneSettings("bad zone", SETTINGS.name_servers))


@given(st.lists(st.sampled_from(["a", "relays", "example", "com", "xrelays"]), max_size=6))
def test_a_name_is_within_a_zone_when_its_last_labels_are_the_zones(labels):
    made = name_of(".".join(labels) or ".")
    assert is_within(made, name("")) == (labels[-3:] == ["relays", "example", "com"])


def test_a_label_that_only_looks_like_the_zone_is_not_in_it():
    forged = b"\x14x" + name("")[:-1] + b"\x00"  # one label of 20 bytes, among them the zone's own length bytes
    assert not is_within(forged, name(""))
