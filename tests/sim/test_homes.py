"""A crowd of daemons' cores chooses homes while the fleet changes under it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from ginnel.testing.homes_story import Chapter, table, tell, tell_in_shares

CLIENTS, REGIONS = 400, 30


@pytest.fixture(scope="module")
def story() -> dict[str, Chapter]:
    return {chapter.name: chapter for chapter in tell_in_shares(7, CLIENTS, REGIONS, 2)}


@pytest.fixture(scope="module")
def chapters(story: dict[str, Chapter]) -> Sequence[Chapter]:
    return list(story.values())


def test_everybody_has_a_relay_near_by_at_the_end_of_each_chapter(chapters: Sequence[Chapter]) -> None:
    assert [(chapter.name, chapter.cut_off, chapter.far) for chapter in chapters] == [
        (chapter.name, 0, 0) for chapter in chapters
    ]


def test_nobody_moves_twice_for_one_change(chapters: Sequence[Chapter]) -> None:
    assert {
        chapter.name: max(chapter.moves, default=0) for chapter in chapters if max(chapter.moves, default=0) > 1
    } == {}


def test_only_clients_of_the_region_concerned_move(story: dict[str, Chapter]) -> None:
    for name in ("a relay is killed", "a region is drained"):
        assert story[name].moved == story[name].concerned > 0
    for name in ("its region is removed", "and removed", "some are in use for five minutes"):
        assert story[name].moved == 0
    assert story["a region is added"].moved < CLIENTS / 10


def test_a_relay_that_restarts_within_a_second_keeps_its_clients(story: dict[str, Chapter]) -> None:
    restarted = story["a relay restarts"]
    assert (restarted.moved, len(restarted.without)) == (0, restarted.concerned)
    assert restarted.concerned > 0
    assert restarted.without[-1] < 2.5


def test_clients_of_a_dead_relay_are_elsewhere_within_5_seconds(story: dict[str, Chapter]) -> None:
    assert 0.5 < story["a relay is killed"].without[-1] < 5.0


def test_a_drained_region_is_left_with_a_gap_of_one_login(story: dict[str, Chapter]) -> None:
    drained = story["a region is drained"]
    assert len(drained.without) == drained.concerned
    assert drained.without[-1] < 0.8


def test_a_new_map_is_no_stampede(story: dict[str, Chapter]) -> None:
    """Without a time of its own for each client it is 0.9 of them."""
    for name in ("a region is added", "its region is removed", "a region is drained", "and removed"):
        logins, asked = story[name].busiest
        assert asked < 0.4 * CLIENTS
        assert logins <= max(3, 0.5 * story[name].concerned)


def test_a_seed_tells_the_same_story_each_time() -> None:
    assert table(tell(3, 20, 5)) == table(tell(3, 20, 5)) != table(tell(4, 20, 5))
