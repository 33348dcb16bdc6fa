from __future__ import annotations

from ginnel.core.node.constants import PROBE_BURST, PROBE_RATE
from ginnel.core.node.probe_budget import BUCKETS_KEPT, ProbeBudget
from ginnel.words import Endpoint, Instant

TO = Endpoint.parse("192.0.2.1:1")


def spend(budget: ProbeBudget, seconds: int, tries_a_second: int) -> int:
    return sum(budget.spend(TO, Instant(t / tries_a_second)) for t in range(seconds * tries_a_second))


def test_an_address_that_never_answers_gets_a_burst_and_then_a_trickle() -> None:
    assert spend(ProbeBudget(), 60, 100) <= PROBE_BURST + 60 * PROBE_RATE


def test_an_answer_fills_the_bucket() -> None:
    budget = ProbeBudget()
    while budget.spend(TO, Instant(0.0)):
        pass
    budget.answered(TO)
    assert budget.spend(TO, Instant(0.0))


def test_addresses_without_end_take_bounded_memory() -> None:
    budget = ProbeBudget()
    took = 0
    for number in range(3 * BUCKETS_KEPT):
        took += budget.spend(Endpoint(TO.ip, number % 65536), Instant(0.0))
    assert took == BUCKETS_KEPT
    assert budget.spend(TO, Instant(100.0))
