from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.home_region import choose_home
from ginnel.words import RegionId

Latencies = dict[RegionId, float]


def at(**milliseconds: float) -> Latencies:
    return {RegionId(int(name[1:])): value / 1000 for name, value in milliseconds.items()}


@pytest.mark.parametrize(
    ("now", "earlier", "home", "expected"),
    [
        (at(r1=50, r2=20), [], 0, 2),
        (at(r1=50, r2=20), [], 1, 2),
        (at(r1=25, r2=20), [], 1, 1),  # within 10 ms
        (at(r1=100, r2=80), [], 1, 1),  # saves less than a third
        (at(r1=100, r2=60), [], 1, 2),
        (at(r1=100, r2=60), [at(r1=55)], 1, 1),  # home was fast a minute ago
        (at(r1=100), [at(r2=10)], 1, 1),  # the faster one does not answer now
        (at(r2=80), [], 1, 2),  # home does not answer
        ({}, [at(r2=10)], 1, 1),
        ({}, [], 0, 0),
        (at(r1=20, r2=20), [], 0, 1),
    ],
)
def test_which_region_is_home(now: Latencies, earlier: list[Latencies], home: int, expected: int) -> None:
    assert choose_home(now, [*earlier, now], RegionId(home)) == expected


def test_scores_favour_and_those_that_make_no_sense_are_ignored() -> None:
    now = at(r1=50, r2=40)
    assert choose_home(now, [now], RegionId(0), scores={1: 0.5}) == 1
    assert choose_home(now, [now], RegionId(0), scores={1: 0.0, 2: -1.0}) == 2


def test_an_avoided_region_stays_home_but_does_not_become_it() -> None:
    now = at(r1=10, r2=50)
    assert choose_home(now, [now], RegionId(0), avoid={RegionId(1)}) == 2
    assert choose_home(now, [now], RegionId(1), avoid={RegionId(1)}) == 1


def test_home_is_kept_while_its_connection_stands() -> None:
    now = at(r2=10)
    assert choose_home(now, [now], RegionId(1), home_alive=True) == 1


BAND = st.lists(st.lists(st.floats(0.0, 0.0099), min_size=3, max_size=3), min_size=2, max_size=30)
ANY = st.lists(
    st.dictionaries(st.sampled_from([RegionId(n) for n in (1, 2, 3)]), st.floats(0.001, 0.4)), min_size=1, max_size=30
)


@given(st.floats(0.001, 0.2), BAND)
def test_latencies_that_wander_within_ten_milliseconds_never_move_home(base: float, rounds: list[list[float]]) -> None:
    history: list[Latencies] = []
    homes = set()
    home = RegionId(0)
    for extra in rounds:
        history.append({RegionId(n + 1): base + more for n, more in enumerate(extra)})
        home = choose_home(history[-1], history, home)
        homes.add(home)
    assert len(homes) == 1


@given(ANY)
def test_home_moves_only_to_a_region_that_answers_and_is_clearly_better(rounds: list[Latencies]) -> None:
    history: list[Latencies] = []
    home = RegionId(0)
    for now in rounds:
        history.append(now)
        before, home = home, choose_home(now, history, home)
        if home == before:
            continue
        assert home in now
        if before in now:
            best = {r: min(held[r] for held in history if r in held) for r in (home, before)}
            assert best[before] - best[home] >= 0.010
            assert best[home] <= best[before] * 2 / 3


@given(ANY)
def test_the_same_reports_again_move_nothing(rounds: list[Latencies]) -> None:
    history = list(rounds)
    home = choose_home(history[-1], history, RegionId(0))
    assert choose_home(history[-1], history, home) == home
