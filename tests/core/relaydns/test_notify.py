"""Telling the secondaries: until they have heard."""

from itertools import pairwise

import dns.message
import pytest

from ginnel.core.relaydns.notify import FIRST_WAIT, TRIES, GaveUp, Notifier, SendNotify
from ginnel.wire.dns import name_of
from ginnel.words import Endpoint

ONE, TWO = Endpoint.parse("192.0.2.1:53"), Endpoint.parse("[2001:db8::1]:5353")


@pytest.fixture
def notifier():
    return Notifier(name_of("relays.example.com"), (ONE, TWO), iter(range(1, 1000)).__next__)


def answer_to(action):
    return dns.message.make_response(dns.message.from_wire(action.message)).to_wire()


def test_each_secondary_is_told_until_it_answers(notifier):
    first, second = notifier.changed(0.0)
    assert (first.to, second.to) == (ONE, TWO)
    assert notifier.receive(ONE, answer_to(first))
    again = notifier.tick(notifier.next_timeout())
    assert [action.to for action in again] == [TWO]
    assert again[0].message == second.message
    assert notifier.receive(TWO, answer_to(again[0]))
    assert notifier.next_timeout() is None


def test_it_gives_up_after_some_tries_with_longer_waits(notifier):
    sent, times = len(notifier.changed(0.0)) // 2, [0.0]
    while (now := notifier.next_timeout()) is not None:
        actions = notifier.tick(now)
        if isinstance(actions[0], SendNotify):
            sent += 1
            times.append(now)
    assert actions == [GaveUp(ONE), GaveUp(TWO)]
    assert sent == TRIES
    assert [b - a for a, b in pairwise(times)] == [FIRST_WAIT * 2**i for i in range(TRIES - 1)]


def test_a_further_change_begins_anew_and_the_old_answer_counts_no_more(notifier):
    old, _ = notifier.changed(0.0)
    new, _ = notifier.changed(1.0)
    assert not notifier.receive(ONE, answer_to(old))
    assert notifier.receive(ONE, answer_to(new))


def test_what_is_no_answer_of_theirs_changes_nothing(notifier):
    first, _ = notifier.changed(0.0)
    stranger = Endpoint.parse("192.0.2.2:53")
    assert not notifier.receive(stranger, answer_to(first))
    assert not notifier.receive(ONE, first.message)
    assert not notifier.receive(ONE, b"")
    assert not notifier.receive(ONE, bytes(12))
