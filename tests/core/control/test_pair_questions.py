from __future__ import annotations

from collections.abc import Callable

import pytest

from ginnel.core.control.pair_questions import BURST, OPEN_OF_ONE, Asked, NotAsked, PairQuestions
from ginnel.words import Instant, NodeId

ALICE, BOB, CAROL = NodeId(1), NodeId(2), NodeId(3)
NOW = Instant(100.0)


def questions(sees: Callable[[NodeId, NodeId], bool] = lambda *_: True) -> PairQuestions:
    numbers = iter(range(1, 10_000))
    return PairQuestions(lambda size: next(numbers).to_bytes(size, "big"), sees)


def refusal(asking: PairQuestions, asker: NodeId, peer: NodeId, now: Instant = NOW) -> int:
    with pytest.raises(NotAsked) as refused:
        asking.ask(asker, peer, now)
    return refused.value.status


def test_an_answer_counts_once_and_only_from_the_peer_that_was_asked():
    asking = questions()
    asked = asking.ask(ALICE, BOB, NOW)
    assert not asking.answered(asked.token, CAROL)
    assert not asking.answered("0" * 32, BOB)
    assert asking.answered(asked.token, BOB)
    assert not asking.answered(asked.token, BOB)


@pytest.mark.parametrize("hidden", [(ALICE, BOB), (BOB, ALICE)])
def test_who_does_not_see_the_other_is_told_that_there_is_nobody(hidden):
    assert refusal(questions(lambda *pair: pair != hidden), ALICE, BOB) == 404


def test_nobody_asks_about_the_way_to_itself():
    assert refusal(questions(), ALICE, ALICE) == 404


def test_only_so_many_questions_of_one_asker_are_open():
    asking = questions()
    open_ones = [asking.ask(ALICE, BOB, NOW) for _ in range(OPEN_OF_ONE)]
    assert refusal(asking, ALICE, BOB) == 429
    assert asking.ask(CAROL, BOB, NOW)
    asking.over(open_ones[0])
    assert asking.ask(ALICE, BOB, NOW)


def test_who_asks_on_and_on_has_to_wait():
    asking = questions()

    def once(now: Instant) -> Asked:
        asked = asking.ask(ALICE, BOB, now)
        asking.over(asked)
        return asked

    for _ in range(int(BURST)):
        once(NOW)
    assert refusal(asking, ALICE, BOB) == 429
    assert once(Instant(NOW + 5.0))
