from __future__ import annotations

from ipaddress import IPv4Address

from ginnel.core.node.constants import SHUNNED_FIRST, SHUNNED_FORGOTTEN, SHUNNED_KEPT, SHUNNED_MAX
from ginnel.core.node.shunned import Fault, Shunned
from ginnel.words import Endpoint, Instant

T0 = Instant(1000.0)
BAD = Endpoint.parse("192.0.2.1:1")


def test_each_time_is_twice_as_long_up_to_a_limit() -> None:
    shunned = Shunned()
    now, lengths = T0, []
    for _ in range(7):
        shunned.add(BAD, Fault.DATA, now)
        ((_, sentence),) = shunned.each(now)
        lengths.append(sentence.until - now)
        now = sentence.until
    assert lengths == [SHUNNED_FIRST, 60, 120, 240, 480, SHUNNED_MAX, SHUNNED_MAX]
    assert not shunned.now(BAD, now)
    assert shunned.lately(BAD, now)


def test_what_is_long_ago_is_forgotten() -> None:
    shunned = Shunned()
    shunned.add(BAD, Fault.DATA, T0)
    later = Instant(T0 + SHUNNED_FIRST + SHUNNED_FORGOTTEN)
    assert not shunned.lately(BAD, later)
    shunned.add(BAD, Fault.SIZE, later)
    assert next(shunned.each(later))[1].times == 1


def test_memory_is_bounded() -> None:
    shunned = Shunned()
    for port in range(1, 1000):
        shunned.add(Endpoint(IPv4Address("192.0.2.1"), port), Fault.DATA, T0)
    assert len(list(shunned.each(T0))) == SHUNNED_KEPT
