"""Addresses of relays that the map names without them."""

from ipaddress import ip_address

import pytest

from ginnel.core.relaydns.hosts import ASK_EVERY, GONE_AFTER, Hosts, Lookup
from ginnel.core.relaydns.zone import HostAddresses

HOST = "r.example.net"
ONE, TWO = (ip_address("192.0.2.1"),), (ip_address("192.0.2.2"),)
SIX = (ip_address("2001:db8::1"),)
NONE, FAILED = Lookup.NONE, Lookup.FAILED


@pytest.fixture
def hosts():
    made = Hosts()
    made.wanted(frozenset({HOST}), 0.0)
    assert made.due(0.0) == [HOST]
    return made


def known(hosts):
    return hosts.known()[HOST]


def test_a_host_is_asked_for_at_once_then_every_minute_and_never_twice_at_a_time(hosts):
    assert hosts.due(1000.0) == []
    assert hosts.next_timeout() is None
    assert hosts.found(HOST, ONE, SIX, 1000.0)
    assert known(hosts) == HostAddresses(ONE, SIX)
    assert hosts.next_timeout() == 1000.0 + ASK_EVERY
    assert hosts.due(1000.0 + ASK_EVERY - 1) == []
    assert hosts.due(1000.0 + ASK_EVERY) == [HOST]
    assert not hosts.found(HOST, ONE, SIX, 1100.0)


def test_a_lookup_that_fails_keeps_what_is_known_for_ever(hosts):
    hosts.found(HOST, ONE, SIX, 0.0)
    assert not hosts.found(HOST, FAILED, FAILED, 10.0)
    assert not hosts.found(HOST, NONE, FAILED, 20.0)
    assert not hosts.found(HOST, FAILED, NONE, 1e9)
    assert known(hosts) == HostAddresses(ONE, SIX)


def test_a_family_that_is_gone_while_the_other_answers_is_gone(hosts):
    hosts.found(HOST, ONE, SIX, 0.0)
    assert hosts.found(HOST, TWO, NONE, 10.0)
    assert known(hosts) == HostAddresses(TWO, ())


def test_a_family_that_failed_stays_while_the_other_changes(hosts):
    hosts.found(HOST, ONE, SIX, 0.0)
    assert hosts.found(HOST, TWO, FAILED, 10.0)
    assert known(hosts) == HostAddresses(TWO, SIX)


def test_a_host_without_any_address_is_believed_after_an_hour_without_a_break(hosts):
    hosts.found(HOST, ONE, SIX, 0.0)
    assert not hosts.found(HOST, NONE, NONE, 10.0)
    hosts.found(HOST, FAILED, FAILED, 20.0)
    assert not hosts.found(HOST, NONE, NONE, 10.0 + GONE_AFTER)
    assert hosts.found(HOST, NONE, NONE, 10.0 + 2 * GONE_AFTER)
    assert known(hosts) == HostAddresses((), ())


def test_a_host_never_seen_is_unknown_and_not_empty(hosts):
    hosts.found(HOST, NONE, NONE, 0.0)
    assert known(hosts) == HostAddresses(None, None)


def test_what_was_saved_counts_until_it_is_asked_for():
    hosts = Hosts({HOST: HostAddresses(ONE, SIX), "gone": HostAddresses(TWO, ())})
    hosts.wanted(frozenset({HOST}), 0.0)
    assert hosts.known() == {HOST: HostAddresses(ONE, SIX)}
    assert hosts.due(0.0) == [HOST]


def test_an_answer_about_a_host_that_the_map_forgot_is_dropped(hosts):
    hosts.wanted(frozenset(), 1.0)
    assert not hosts.found(HOST, ONE, SIX, 2.0)
    assert hosts.known() == {}
