"""How much a source may send: bursts pass, floods wait, and sources are forgotten in turn."""

from ginnel.core.logs import limits
from ginnel.core.logs.rates import Rates
from ginnel.words import Instant


def test_a_flood_is_refused_and_others_are_not() -> None:
    rates = Rates(rate=2.0, burst=10.0)
    assert sum(rates.admits("a", Instant(0.0)) for _ in range(100)) == 10
    assert rates.admits("b", Instant(0.0))
    assert not rates.admits("a", Instant(0.4))
    assert sum(rates.admits("a", Instant(3.0)) for _ in range(100)) == 6


def test_large_uploads_pay_for_their_size_before_the_next() -> None:
    rates = Rates(rate=1.0, burst=2.0)
    assert rates.admits("a", Instant(0.0))
    rates.charge("a", 10 * limits.CHARGE_SIZE, Instant(0.0))
    assert not rates.admits("a", Instant(9.0))
    assert rates.admits("a", Instant(10.0))


def test_who_is_busy_waits_until_there_is_room() -> None:
    rates = Rates(rate=1.0, burst=3.0)
    assert [rates.pause("a", Instant(0.0)) for _ in range(5)] == [0.0, 0.0, 0.0, 1.0, 2.0]
    assert rates.pause("a", Instant(100.0)) == 0.0


def test_the_number_of_sources_is_bounded() -> None:
    rates = Rates(rate=1.0, burst=3.0)
    for i in range(limits.MAX_SOURCES + 10):
        rates.admits(str(i), Instant(0.0))
    assert len(rates) == limits.MAX_SOURCES
