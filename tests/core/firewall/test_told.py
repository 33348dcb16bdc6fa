import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.told import LOGS_LIMIT, NOTHING_TOLD, Told, told_by_attributes, told_by_headers

BOTH = Told("relays.example.com", ("log.example.com", "log2.example.com"))


@pytest.mark.parametrize("told", [BOTH, Told("relays.example.com"), Told(logs=("log.example.com",)), NOTHING_TOLD])
def test_what_is_told_is_heard_by_members_and_by_strangers(told: Told) -> None:
    assert told_by_attributes(told.attributes()) == told
    assert told_by_headers(told.headers()) == told


def test_the_feeds_key_is_for_members_alone() -> None:
    """Headers come over TLS, which anybody between may have opened."""
    told = Told(feed="feedkey:aa")
    assert told_by_attributes(told.attributes()) == told
    assert told.headers() == {}


def test_nothing_is_told_by_saying_nothing() -> None:
    assert (NOTHING_TOLD.attributes(), NOTHING_TOLD.headers()) == ({}, {})


json = st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5)


@given(json, json, json)
def test_a_value_of_another_type_is_nothing(zone: object, logs: object, feed: object) -> None:
    told = told_by_attributes({"ginnel/relay-zone": zone, "ginnel/log-hosts": logs, "ginnel/feed-key": feed})
    assert isinstance(told.zone, str)
    assert isinstance(told.feed, str)
    assert all(isinstance(name, str) for name in told.logs)


def test_log_hosts_are_bounded() -> None:
    many = [f"log{n}.example.com" for n in range(100)]
    assert len(told_by_attributes({"ginnel/log-hosts": many}).logs) == LOGS_LIMIT
    assert len(told_by_headers({"ginnel-log-hosts": ",".join(many)}).logs) == LOGS_LIMIT
