"""Refused logins are answered later and later."""

from ginnel.core.control import limits
from ginnel.core.control.refusals import Refusals
from ginnel.words import Instant


def test_each_refusal_of_a_source_waits_twice_as_long_up_to_a_limit() -> None:
    refusals = Refusals()
    delays = [refusals.delay("a", Instant(0.0)) for _ in range(40)]
    assert delays[:3] == [limits.FIRST_REFUSAL_DELAY * factor for factor in (1, 2, 4)]
    assert delays[-1] == limits.MAX_REFUSAL_DELAY
    assert refusals.delay("b", Instant(0.0)) == limits.FIRST_REFUSAL_DELAY


def test_a_quiet_source_begins_again() -> None:
    refusals = Refusals()
    for _ in range(5):
        refusals.delay("a", Instant(0.0))
    assert refusals.delay("a", Instant(limits.REFUSAL_MEMORY)) == limits.FIRST_REFUSAL_DELAY


def test_only_so_many_sources_are_remembered() -> None:
    refusals = Refusals()
    for number in range(limits.MAX_REFUSED_SOURCES + 1):
        refusals.delay(str(number), Instant(0.0))
    assert len(refusals) == limits.MAX_REFUSED_SOURCES
