"""How many UDP answers a network gets."""

from ipaddress import ip_address

import pytest

from ginnel.core.relaydns import limit
from ginnel.core.relaydns.limit import BURST_SECONDS, AnswerLimit, Verdict, prefix_of

HERE, THERE = b"\xc0\x00\x02", b"\xc6\x33\x64"


def taken(limited, prefix, now, count):
    return [limited.take(prefix, now) for _ in range(count)]


def test_a_burst_is_answered_then_half_is_told_to_come_by_tcp_and_half_is_dropped():
    limited = AnswerLimit(10)
    burst = int(10 * BURST_SECONDS)
    assert set(taken(limited, HERE, 0.0, burst)) == {Verdict.ANSWER}
    beyond = taken(limited, HERE, 0.0, 100)
    assert (beyond.count(Verdict.SLIP), beyond.count(Verdict.DROP)) == (50, 50)
    assert limited.take(THERE, 0.0) is Verdict.ANSWER


def test_over_a_minute_a_network_gets_its_rate_and_the_burst():
    limited = AnswerLimit(10)
    answered = sum(limited.take(HERE, step / 100) is Verdict.ANSWER for step in range(6000))
    assert answered == pytest.approx(10 * 60 + 10 * BURST_SECONDS, abs=2)


def test_who_rests_has_a_whole_burst_again():
    limited = AnswerLimit(10)
    taken(limited, HERE, 0.0, 100)
    assert set(taken(limited, HERE, 100.0, int(10 * BURST_SECONDS))) == {Verdict.ANSWER}


def test_forgetting_gives_nobody_more():
    """Buckets change their generation while one is being drained, as newcomers make them."""
    limited = AnswerLimit(10)
    taken(limited, HERE, 0.0, 100)
    for step in range(1, 200):
        if step < 40 or step % 50 == 0:
            limited.take(step.to_bytes(4, "big"), step / 4)
        answers = taken(limited, HERE, step / 4, 20).count(Verdict.ANSWER)
        assert answers <= 3


def test_a_flood_from_everywhere_is_bounded_and_newcomers_share_a_bucket(monkeypatch):
    monkeypatch.setattr(limit, "MAX_PREFIXES", 100)
    limited = AnswerLimit(10)
    verdicts = [limited.take(number.to_bytes(3, "big"), 0.0) for number in range(1000)]
    assert len(limited) <= 101
    assert verdicts.count(Verdict.ANSWER) == 100 + int(10 * BURST_SECONDS)


def test_zero_is_no_limit():
    assert set(taken(AnswerLimit(0), HERE, 0.0, 10_000)) == {Verdict.ANSWER}


def test_prefixes_are_of_24_and_56_bits_and_mapped_addresses_are_ipv4():
    def of(text):
        return prefix_of(ip_address(text).packed)

    assert of("192.0.2.1") == of("192.0.2.255") == of("::ffff:192.0.2.9") == HERE
    assert of("192.0.3.1") != HERE
    assert of("2001:db8:0:1ff::1") == of("2001:db8:0:100::")
    assert of("2001:db8:0:200::1") != of("2001:db8:0:100::")
