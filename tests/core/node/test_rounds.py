from __future__ import annotations

from collections import Counter

from ginnel.core.node.constants import SEARCH_BURST, SEARCH_FREE, SEARCH_RATE
from ginnel.core.node.path_actions import Probe
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.rounds import Rounds
from ginnel.core.node.scoring import Proven
from ginnel.words import Endpoint, Instant

T0 = Instant(1000.0)
STALE = [Endpoint.parse(f"192.0.2.1:{port}") for port in range(5001, 5009)]
NEW = Endpoint.parse("198.51.100.1:41641")


def rounds() -> Rounds:
    made = Rounds(ProbeBudget())
    made.candidates.from_map(STALE, T0)
    return made


def search(made: Rounds, begin: float, seconds: float) -> Counter[Endpoint]:
    """Rounds as a peer's are that calls each 5 s."""
    asked: Counter[Endpoint] = Counter()
    for half in range(round(2 * seconds)):
        now = Instant(T0 + begin + half / 2)
        actions = made.at_ordinary_pace(now) if half % 5 == 0 else made.ask_all(now) if half % 10 == 7 else []
        asked.update(action.endpoint for action in actions if isinstance(action, Probe))
    return asked


def test_the_quick_rounds_ask_every_address() -> None:
    made = rounds()
    for number in range(SEARCH_FREE):
        assert len(made.ask_all(Instant(T0 + number / 10))) == len(STALE)


def test_addresses_that_never_answer_cost_no_more_than_one_each_second_together() -> None:
    made = rounds()
    search(made, 0.0, 120.0)
    asked = search(made, 120.0, 60.0)
    assert asked.total() <= 60 * SEARCH_RATE + 1
    assert max(asked.values()) - min(asked[stale] for stale in STALE) <= 1  # they take turns


def test_a_new_address_does_not_wait_for_the_stale_ones() -> None:
    made = rounds()
    search(made, 0.0, 120.0)
    made.candidates.from_call_me_maybe([NEW], Instant(T0 + 120.0))
    for number in range(SEARCH_FREE):
        probes = made.ask_all(Instant(T0 + 120.0 + number / 10))
        assert NEW in [probe.endpoint for probe in probes if isinstance(probe, Probe)]


def test_an_address_that_has_worked_is_asked_as_often_as_ever() -> None:
    made = rounds()
    made.answered(Proven(STALE[0], 0.02), T0)
    asked = search(made, 0.0, 120.0)
    assert asked[STALE[0]] > 40


def test_an_answer_and_a_move_give_hope_for_all() -> None:
    made = rounds()
    search(made, 0.0, 120.0)
    made.answered(Proven(NEW, 0.02), Instant(T0 + 120.0))
    assert search(made, 120.0, 10.0).total() >= SEARCH_BURST - 2
    made.forget()
    assert len(made.ask_all(Instant(T0 + 140.0))) == len(STALE)
