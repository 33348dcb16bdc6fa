"""The relays' names in another server: what differs, in an order that leaves no name empty."""

import dns.message
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.relaydns.update import (
    MAX_RETRY,
    PER_MESSAGE,
    UpdateFailed,
    check_done,
    differences,
    held,
    keys_to_ask,
    read_held,
    retry_after,
    updates,
)
from ginnel.core.relaydns.zone import zone_of
from ginnel.wire.dns import AAAA, A, read_message
from tests.core.relaydns.relay_names import SETTINGS, ZONE, derp_map, name, node, region, relays, zone

KEY = (name("derp1a"), A)


def applied(have, changes):
    """The server's zone, and whether a name that had addresses was without on the way."""
    now, emptied = {key: set(data) for key, (_, data) in have.items()}, set()
    for change in changes:
        found = now.setdefault(change.key, set())
        found.add(change.data) if change.add else found.discard(change.data)
        if not found:
            emptied.add(change.key)
    return {key: data for key, data in now.items() if data}, emptied


@given(st.integers(0, 8), st.integers(0, 8), st.integers(0, 8), st.integers(0, 8))
def test_what_differs_makes_one_into_the_other_and_no_name_that_stays_is_ever_empty(a, b, c, d):
    before, after = zone(relays(1, a), relays(2, b)), zone(relays(1, c), relays(2, d))
    result, emptied = applied(held(before), differences(after, held(before)))
    assert result == {key: set(data) for key, (_, data) in held(after).items()}
    assert not emptied & held(after).keys()


def test_the_same_is_no_change():
    assert differences(zone(relays(1, 3)), held(zone(relays(1, 3)))) == []


def test_only_the_difference_is_sent():
    changes = differences(zone(relays(1, 4)), held(zone(relays(1, 3))))
    assert len(changes) == 4  # derp1d and one more of derp1-all, in both families
    assert all(change.add for change in changes)


def test_a_name_with_addresses_unknown_loses_nothing():
    half = zone_of(derp_map(region(1, node("1a", "192.0.2.9", "none"), node("1b"))), SETTINGS)
    changes = differences(half, held(zone(relays(1, 3))))
    kept = {(name("derp1b"), A), (name("derp1-all"), A), (name("derp1-all"), AAAA)}
    assert not [change for change in changes if not change.add and change.key in kept]
    assert [change for change in changes if change.add and change.key == (name("derp1-all"), A)]
    assert [change for change in changes if not change.add and change.key == (name("derp1c"), A)]


def test_another_ttl_is_written_anew():
    have = {key: (3600, data) for key, (_, data) in held(zone(relays(1, 1))).items()}
    changes = differences(zone(relays(1, 1)), have)
    assert {change.ttl for change in changes} == {60}
    assert len(changes) == 4


def test_additions_stand_before_removals_in_messages_of_bounded_size():
    changes = differences(zone(relays(1, 700)), held(zone(relays(2, 700))))
    messages = [read_message(raw) for _, raw in updates(name(""), changes, iter(range(1000)))]
    records = [record for message in messages for record in message.authority]
    assert len(records) == len(changes)
    assert max(len(message.authority) for message in messages) == PER_MESSAGE
    classes = [record.rclass for record in records]
    assert classes == sorted(classes)  # IN is 1, NONE is 254
    assert max(len(raw) for _, raw in updates(name(""), changes, iter(range(1000)))) < 0xFFFF


def test_both_types_of_every_name_are_asked_for():
    assert keys_to_ask({name("derp1a")}) == [(name("derp1a"), A), (name("derp1a"), AAAA)]


# --- what the server says -------------------------------------------------------------------------------------


def answered(rcode="NOERROR", flags="QR AA", records=("192.0.2.1",), rtype="A", label="derp1a", ident=5):
    asked = dns.message.make_query(f"{label}.{ZONE}", "A", id=ident)
    made = dns.message.make_response(asked)
    made.flags = dns.flags.from_text(flags)
    made.set_rcode(dns.rcode.from_text(rcode))
    if records:
        made.answer.append(dns.rrset.from_text(f"{label}.{ZONE}.", 77, "IN", rtype, *records))
    return read_message(made.to_wire())


def test_what_the_server_has_is_read_with_its_ttl():
    assert read_held(answered(), KEY, 5) == (77, frozenset([bytes([192, 0, 2, 1])]))
    assert read_held(answered(records=()), KEY, 5) is None
    assert read_held(answered("NXDOMAIN", records=()), KEY, 5) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"rcode": "SERVFAIL"}, {"rcode": "REFUSED"}, {"rcode": "NOTAUTH"}, {"flags": "QR"}, {"flags": "QR AA TC"},
        {"flags": "AA"}, {"label": "derp1b"}, {"ident": 6}, {"rtype": "CNAME", "records": ("x.example.",)},
    ],
    ids=str,
)  # fmt: skip
def test_whatever_is_no_answer_is_a_failure_and_never_an_empty_set(wrong):
    with pytest.raises(UpdateFailed):
        read_held(answered(**({"records": ()} | wrong)), KEY, 5)


def test_an_update_is_done_when_the_server_says_so():
    check_done(answered(records=()), 5)
    for wrong in ({"rcode": "REFUSED"}, {"rcode": "SERVFAIL"}, {"rcode": "NOTAUTH"}, {"ident": 6}, {"flags": "AA"}):
        with pytest.raises(UpdateFailed):
            check_done(answered(records=(), **wrong), 5)


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_waits_grow_to_five_minutes_and_no_further(failures, jitter):
    assert 1 <= retry_after(failures, jitter) <= MAX_RETRY < 900
    assert retry_after(failures + 1, jitter) >= retry_after(failures, jitter)
