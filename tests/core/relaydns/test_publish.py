"""From the map to the zone in force, under a fake clock."""

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.relaydns.hosts import Lookup
from ginnel.core.relaydns.publish import REBUILD_EVERY, Publish, Publisher, ReadMap, Resolve, Saved, next_serial
from ginnel.wire.dns import A
from tests.core.relaydns.relay_names import SETTINGS, addresses, both, derp_map, node, region, relays

WALL = 1_700_000_000.0
FIFTEEN_MINUTES = 900.0


def published(actions):
    return [action for action in actions if isinstance(action, Publish)]


def test_relays_that_come_and_go_are_seen_at_once_and_each_time_under_a_higher_serial():
    publisher, serials = Publisher(SETTINGS, Saved()), []
    for step, count in enumerate((1, 2, 5, 3, 0, 4)):
        [action] = published(publisher.changed(derp_map(relays(1, count)), float(step), WALL))
        assert len(addresses(action.zone, "derp1-all", A)) == count
        assert action.save.serial == action.zone.serial
        serials.append(action.zone.serial)
    assert serials == sorted(set(serials))
    assert serials[0] == int(WALL)


def test_what_nobody_told_is_seen_within_fifteen_minutes():
    publisher, now = Publisher(SETTINGS, Saved()), 0.0
    publisher.changed(derp_map(relays(1, 1)), now, WALL)
    world = derp_map(relays(1, 2))  # the map changes behind our back
    while len(addresses(publisher.zone, "derp1-all", A)) != 2:
        now = publisher.next_timeout()
        for action in publisher.tick(now):
            if isinstance(action, ReadMap):
                publisher.changed(world, now, WALL + now)
    assert now == REBUILD_EVERY < FIFTEEN_MINUTES


def test_the_same_map_again_publishes_nothing():
    publisher = Publisher(SETTINGS, Saved())
    publisher.changed(derp_map(relays(1, 2)), 0.0, WALL)
    assert publisher.changed(derp_map(relays(1, 2)), 1.0, WALL + 1) == []


def test_a_restart_goes_on_from_the_serial_that_was_saved():
    before = Publisher(SETTINGS, Saved())
    saved = published(before.changed(derp_map(relays(1, 2)), 0.0, WALL))[0].save
    [same] = published(Publisher(SETTINGS, saved).changed(derp_map(relays(1, 2)), 0.0, WALL + 50))
    assert (same.zone.serial, same.changed, same.save) == (saved.serial, False, None)
    [other] = published(Publisher(SETTINGS, saved).changed(derp_map(relays(1, 3)), 0.0, WALL - 1e6))
    assert other.zone.serial == saved.serial + 1
    [lost] = published(Publisher(SETTINGS, Saved()).changed(derp_map(relays(1, 3)), 0.0, WALL + 60))
    assert lost.zone.serial > saved.serial


@given(st.integers(1, 2**32 - 1), st.floats(0, 2**33))
def test_a_serial_is_above_the_last_in_the_circle_of_32_bits(last, wall):
    serial = next_serial(last, wall)
    assert 0 < serial < 2**32
    assert 0 < (serial - last) % 2**32 < 2**31


def test_a_relay_without_addresses_is_asked_for_and_published_when_they_come():
    publisher = Publisher(SETTINGS, Saved())
    half = derp_map(region(1, both("1a", 1), node("1b", host="r.example.net")))
    actions = publisher.changed(half, 0.0, WALL)
    assert Resolve("r.example.net") in actions
    [told] = publisher.resolved("r.example.net", (ip_address("192.0.2.9"),), Lookup.FAILED, 1.0, WALL)
    assert addresses(told.zone, "derp1-all", A) == ["192.0.2.1", "192.0.2.9"]
    assert told.save.hosts["r.example.net"].v4 == (ip_address("192.0.2.9"),)
    again = Publisher(SETTINGS, told.save)
    assert addresses(published(again.changed(half, 0.0, WALL))[0].zone, "derp1b", A) == ["192.0.2.9"]
    assert publisher.resolved("r.example.net", Lookup.FAILED, Lookup.FAILED, 99.0, WALL) == []


def test_a_host_is_asked_for_again_within_fifteen_minutes():
    publisher = Publisher(SETTINGS, Saved())
    publisher.changed(derp_map(region(1, node("1a", host="r.example.net"))), 0.0, WALL)
    publisher.resolved("r.example.net", (ip_address("192.0.2.9"),), Lookup.NONE, 0.0, WALL)
    assert Resolve("r.example.net") in publisher.tick(publisher.next_timeout())
    assert publisher.next_timeout() is not None


def test_nothing_is_published_before_the_first_map():
    assert Publisher(SETTINGS, Saved()).next_timeout() is None


@pytest.mark.parametrize("last", [0, 5])
def test_serial_zero_is_never_used(last):
    assert next_serial(last, 0.0) == last + 1
    assert next_serial(2**32 - 1, 2.0**33 - 1) == 1
