from __future__ import annotations

from ginnel.core.node.constants import SIZE_AGAIN, SIZE_LOSSES, SIZE_PINGS
from ginnel.core.node.size_check import Outcome, SizeCheck
from ginnel.words import Instant

T0 = Instant(1000.0)


def test_large_pings_lost_while_small_ones_come_back_are_too_large() -> None:
    check = SizeCheck()
    check.begin(small_answered=True)
    outcomes = []
    for _ in range(SIZE_LOSSES):
        outcomes.append(check.pair_over())
        check.small_answered()
    assert outcomes == [Outcome.ASK_AGAIN] * (SIZE_LOSSES - 1) + [Outcome.TOO_LARGE]
    assert not check.running


def test_where_small_pings_are_lost_too_nothing_is_said_of_size() -> None:
    check = SizeCheck()
    check.begin(small_answered=False)
    outcomes = [check.pair_over() for _ in range(SIZE_PINGS)]
    assert outcomes == [Outcome.ASK_AGAIN] * (SIZE_PINGS - 1) + [Outcome.UNKNOWN]


def test_one_large_ping_that_comes_back_outweighs_those_that_were_lost() -> None:
    check = SizeCheck()
    check.begin(small_answered=True)
    check.pair_over()
    assert not check.certain()
    check.passed(T0)
    assert check.certain()
    assert not check.due_again(Instant(T0 + SIZE_AGAIN - 1))
    assert check.due_again(Instant(T0 + SIZE_AGAIN))


def test_another_way_has_shown_nothing_yet() -> None:
    check = SizeCheck()
    check.passed(T0)
    check.forget()
    assert not check.certain()
