"""Which pairs cannot meet, and who gets another home."""

import time

import pytest

from ginnel.core.control.partitions import EXAMPLES, MAX_LOOKS, MAX_LOOKS_ALL, Pair, Partition, Partitions
from ginnel.core.control.reach import Heard
from ginnel.core.control.rehome import HOLD, MAX_BY_ONE, MAX_FARTHER, MAX_GROUP, MAX_MOVED, Rehome
from ginnel.words import Instant, NodeId, WallTime

A, B, C, D = (NodeId(n) for n in (1, 2, 3, 4))
REGIONS = frozenset({10, 20, 30})
NOW = WallTime(1000.0)


def everybody(_one: NodeId, _other: NodeId) -> bool:
    return True


def world(unreached: dict[NodeId, set[int]], latency: dict[int, float] | None = None) -> Partitions:
    core = Partitions(REGIONS)
    for node, regions in unreached.items():
        seen = dict.fromkeys(REGIONS - regions, 0.1) if latency is None else latency
        core.told(node, Heard(seen, frozenset(regions)), NOW)
    return core


def test_who_does_not_reach_a_region_cannot_send_to_those_whose_home_it_is() -> None:
    core = world({A: set(), B: {10}, C: set()})
    (found,) = core.found({A: 10, B: 20, C: 30}, everybody)
    assert (found.region, [lost.node for lost in found.lost], found.homed, found.pairs) == (10, [B], (A,), 1)
    assert found.examples == (Pair(B, A, both=False),)
    assert (found.since, found.counted, found.reached_by) == (NOW, True, 2)


def test_two_that_miss_each_others_home_have_no_contact_at_all() -> None:
    core = world({A: {20}, B: {10}})
    found = core.found({A: 10, B: 20}, everybody)
    assert {partition.examples for partition in found} == {(Pair(A, B, both=True),), (Pair(B, A, both=True),)}


def test_pairs_that_the_policy_keeps_apart_do_not_count() -> None:
    core = world({A: set(), B: {10}, C: set()})
    (found,) = core.found({A: 10, B: 20, C: 10}, lambda one, other: (one, other) == (B, C))
    assert (found.pairs, found.examples) == (1, (Pair(B, C),))


def test_nodes_that_are_gone_and_regions_that_the_map_has_no_more_are_left_out() -> None:
    core = world({A: set(), B: {10}})
    assert core.found({A: 10}, everybody) == []
    core.regions = frozenset({20})
    assert core.found({A: 10, B: 20}, everybody) == []
    core.regions = REGIONS
    core.keep([A])
    assert core.found({A: 10, B: 20}, everybody) == []


def test_a_region_that_nobodys_home_is_is_shown_without_pairs() -> None:
    (found,) = world({A: {30}}).found({A: 10, B: 20}, everybody)
    assert (found.region, found.pairs) == (30, 0)


@pytest.mark.parametrize("size", [50, 10_000])
def test_ten_thousand_nodes_are_groups_and_not_pairs(size: int) -> None:
    core = Partitions(REGIONS)
    homes = {NodeId(n): 10 for n in range(size)}
    for node in homes:
        core.told(node, Heard({20: 0.1}, frozenset({10}) if node % 2 else frozenset()), NOW)
    looks = 0

    def sees(one: NodeId, other: NodeId) -> bool:
        nonlocal looks
        looks += 1
        return True

    (found,) = core.found(homes, sees)
    assert looks <= MAX_LOOKS
    assert len(found.examples) <= EXAMPLES
    lost = size // 2
    assert found.counted == (lost * size <= MAX_LOOKS)
    assert found.pairs == (lost * (size - 1) if found.counted else lost * size)


def test_many_regions_together_are_bounded_as_well() -> None:
    core = Partitions(frozenset(range(1, 257)))
    homes = {NodeId(n): n % 256 + 1 for n in range(5000)}
    for node in homes:
        core.told(node, Heard({}, frozenset(range(1, 257))), NOW)
    looks = 0

    def sees(one: NodeId, other: NodeId) -> bool:
        nonlocal looks
        looks += 1
        return True

    began = time.process_time()
    assert len(core.found(homes, sees)) == 256
    assert looks <= MAX_LOOKS_ALL
    assert time.process_time() - began < 10.0


# --- another home ------------------------------------------------------------------------------------------------


def decide(rehome: Rehome, core: Partitions, homes: dict[NodeId, int], now: float = 0.0) -> bool:
    partitions: list[Partition] = core.found(homes, everybody)
    return rehome.decide(partitions, everybody, core.latency, core.lost_to, REGIONS, Instant(now))


def test_a_node_whose_home_a_peer_does_not_reach_gets_another_that_both_reach() -> None:
    core, rehome = world({A: set(), B: {10}}), Rehome()
    assert decide(rehome, core, {A: 10, B: 20})
    assert rehome.away == {A: frozenset({10})}
    assert not decide(rehome, core, {A: 20, B: 20}), "and stays there"


def test_nobody_is_moved_where_no_region_is_left_that_both_reach() -> None:
    core, rehome = world({A: {20, 30}, B: {10}}), Rehome()
    assert not decide(rehome, core, {A: 10, B: 30})


def test_a_region_that_the_peer_does_not_reach_either_is_no_way_out() -> None:
    core, rehome = world({A: set(), B: {10, 20}}), Rehome()
    assert decide(rehome, core, {A: 10, B: 30})
    assert rehome.away == {A: frozenset({10, 20})}


def test_what_is_only_missing_from_reports_moves_nobody() -> None:
    core, rehome = Partitions(REGIONS), Rehome()
    core.told(A, Heard(dict.fromkeys(REGIONS, 0.1)), NOW)
    for count in range(5):
        core.told(B, Heard({20: 0.1 + count / 100, 30: 0.2}), NOW)
    assert core.found({A: 10, B: 20}, everybody)
    assert not decide(rehome, core, {A: 10, B: 20})


def test_a_move_lasts_an_hour_though_its_cause_comes_and_goes() -> None:
    core, rehome = world({A: set(), B: {10}}), Rehome()
    decide(rehome, core, {A: 10, B: 20})
    core.told(B, Heard(dict.fromkeys(REGIONS, 0.1), frozenset()), NOW)
    assert not decide(rehome, core, {A: 20, B: 20}, HOLD - 1)
    assert decide(rehome, core, {A: 20, B: 20}, HOLD)
    assert rehome.away == {}


def test_a_large_group_is_not_moved_for_the_sake_of_a_few() -> None:
    homes = {NodeId(n): 10 for n in range(100, 100 + MAX_GROUP + 1)}
    core, rehome = world({**{node: set() for node in homes}, B: {10}}), Rehome()
    assert not decide(rehome, core, {**homes, B: 20})
    core.keep([*list(homes)[1:], B])
    assert decide(rehome, core, {**dict(list(homes.items())[1:]), B: 20})


def test_the_word_of_one_node_moves_few_others_whatever_it_says() -> None:
    """A liar names every home there is, again and again."""
    regions = frozenset(range(1, 31))
    core, rehome = Partitions(regions | REGIONS), Rehome()
    homes = {NodeId(100 + n): n % 30 + 1 for n in range(200)}
    for node in homes:
        core.told(node, Heard(dict.fromkeys(REGIONS | regions, 0.1), frozenset()), NOW)
    ever: set[NodeId] = set()
    for minute in range(59):
        said = frozenset(region for region in regions if (region + minute) % 3)
        core.told(B, Heard(dict.fromkeys(REGIONS, 0.1), said), NOW)
        partitions = core.found({**homes, B: 20}, everybody)
        rehome.decide(partitions, everybody, core.latency, core.lost_to, regions | REGIONS, Instant(60.0 * minute))
        ever |= rehome.moved.keys()
    assert len(ever) == MAX_BY_ONE


def test_many_who_say_it_move_no_more_than_each_may() -> None:
    liars = [NodeId(n) for n in range(500, 503)]
    homes = {NodeId(100 + n): 10 + n % 4 for n in range(60)}
    regions = frozenset(range(10, 14)) | REGIONS
    core, rehome = Partitions(regions), Rehome()
    for node in homes:
        core.told(node, Heard(dict.fromkeys(regions, 0.1), frozenset()), NOW)
    for liar in liars:
        core.told(liar, Heard({30: 0.1}, frozenset(range(10, 14))), NOW)
    partitions = core.found({**homes, **dict.fromkeys(liars, 30)}, everybody)
    rehome.decide(partitions, everybody, core.latency, core.lost_to, regions, Instant(0.0))
    assert 0 < len(rehome.moved) <= MAX_BY_ONE * len(liars)


@pytest.mark.parametrize(("farther", "moves"), [(MAX_FARTHER - 0.01, True), (MAX_FARTHER + 0.01, False)])
def test_nobody_is_moved_to_where_it_is_much_farther(farther: float, moves: bool) -> None:
    core, rehome = Partitions(REGIONS), Rehome()
    core.told(A, Heard({10: 0.02, 20: 0.02 + farther, 30: 0.3}, frozenset()), NOW)
    core.told(B, Heard(dict.fromkeys(REGIONS, 0.1), frozenset({10})), NOW)
    assert decide(rehome, core, {A: 10, B: 20}) is moves


def test_no_more_than_so_many_are_moved_at_once() -> None:
    regions = frozenset(range(1, 21))
    core, rehome = Partitions(regions | REGIONS), Rehome()
    homes = {NodeId(100 + n): n % 20 + 1 for n in range(200)}
    for node in homes:
        core.told(node, Heard(dict.fromkeys(REGIONS, 0.1), frozenset()), NOW)
    many = [NodeId(500 + n) for n in range(2 * MAX_MOVED // MAX_BY_ONE)]
    for node in many:
        core.told(node, Heard(dict.fromkeys(REGIONS, 0.1), regions), NOW)
    partitions = core.found({**homes, **dict.fromkeys(many, 30)}, everybody)
    rehome.decide(partitions, everybody, core.latency, core.lost_to, regions | REGIONS, Instant(0.0))
    assert len(rehome.moved) == MAX_MOVED
