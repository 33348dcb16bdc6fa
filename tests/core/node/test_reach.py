"""Relay regions that are proven to be out of reach, and what control hears of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from ginnel.core.node.actions import MeasureHttps
from ginnel.core.node.names import Names
from ginnel.core.node.reach import AGAIN_AFTER, FIRST_AFTER, IN_VAIN, LOST_AGAIN, PROVEN_FOR, Reach
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import Instant, RegionId


def derp_map(*regions: int, nodes: int = 1) -> DERPMap:
    def region(n: int) -> DERPRegion:
        made = [DERPNode(f"{n}{i}", n, f"r{n}-{i}", ipv4=f"192.0.{i}.{n}", ipv6="none") for i in range(nodes)]
        return DERPRegion(n, f"r{n}", f"R{n}", nodes=made)

    return DERPMap(regions={n: region(n) for n in regions})


MAP = derp_map(1, 2, 3)


@dataclass
class World:
    """Regions in `dead` do not answer by HTTPS."""

    dead: set[int] = field(default_factory=set)
    others: bool = True
    now: float = 1000.0
    asked: list[tuple[float, int]] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.reach = Reach(Names())

    def checked(self, *answered: int, derp_map: DERPMap = MAP) -> None:
        self.reach.checked(derp_map, {RegionId(n) for n in answered}, Instant(self.now))

    def run(self, seconds: float) -> frozenset[RegionId]:
        end = self.now + seconds
        while (due := self.reach.next_timeout()) is not None and due <= end:
            self.now = max(due, self.now)
            for action in self.reach.tick(Instant(self.now), others=self.others):
                assert isinstance(action, MeasureHttps)
                self.asked.append((self.now - 1000.0, action.region))
                self.hosts.append(action.server_name)
                answer = None if action.region in self.dead else 0.1
                self.reach.measured(action.region, answer, Instant(self.now), others=self.others)
        self.now = end
        return self.reach.unreached


def test_a_region_that_stayed_silent_is_asked_twice_before_it_counts_as_lost() -> None:
    world = World({3})
    world.checked(1, 2)
    assert world.run(FIRST_AFTER + AGAIN_AFTER - 0.1) == frozenset()
    assert world.run(0.2) == {3}
    assert [region for _, region in world.asked] == [3, 3]


def test_a_region_that_answers_by_https_is_left_alone_for_a_while() -> None:
    world = World()
    world.checked(1, 2)
    world.run(PROVEN_FOR - 10)
    world.checked(1, 2)
    assert world.run(5) == frozenset()
    assert [region for _, region in world.asked] == [3]
    world.run(10)
    world.checked(1, 2)
    world.run(5)
    assert [region for _, region in world.asked] == [3, 3]


def test_without_a_check_nothing_is_asked() -> None:
    world = World()
    world.checked(1, 2)
    world.run(10)
    assert world.reach.next_timeout() is None


def test_a_lost_region_is_asked_until_it_is_back() -> None:
    world = World({3})
    world.checked(1, 2)
    assert world.run(FIRST_AFTER + AGAIN_AFTER + 2.5 * LOST_AGAIN) == {3}
    assert len(world.asked) == 4
    world.dead.clear()
    assert world.run(LOST_AGAIN) == frozenset()


def test_a_stun_answer_does_not_bring_back_what_https_does_not_reach() -> None:
    world = World({3})
    world.checked(1, 2)
    world.run(30)
    world.checked(1, 2, 3)
    assert world.run(1) == {3}


def test_questions_come_one_at_a_time() -> None:
    world = World()
    world.checked(derp_map=derp_map(*range(1, 26)))
    world.run(60)
    times = [at for at, _ in world.asked]
    assert len(times) == 25
    assert all(later - earlier >= 0.5 for earlier, later in itertools.pairwise(times))


def test_the_regions_nodes_are_asked_in_turn() -> None:
    world = World({3})
    world.checked(1, 2, derp_map=derp_map(1, 2, 3, nodes=2))
    world.run(30)
    assert world.hosts == ["r3-0", "r3-1"]


def test_while_no_other_relay_is_reached_nothing_is_lost_and_asking_ends() -> None:
    world = World({1, 2, 3}, others=False)
    world.checked()
    assert world.run(1000) == frozenset()
    assert len(world.asked) == 3 * IN_VAIN


def test_dials_that_fail_count_at_once_and_a_connection_takes_it_back() -> None:
    world = World()
    world.checked(1, 2, 3)
    world.reach.failing([RegionId(2)], Instant(world.now))
    assert world.run(1) == {2}
    world.reach.up([RegionId(2)], Instant(world.now))
    assert world.run(1) == frozenset()


def test_another_network_and_another_map_begin_anew() -> None:
    world = World({2, 3})
    world.checked(1)
    assert world.run(30) == {2, 3}
    world.checked(1, derp_map=derp_map(1, 2))
    assert world.reach.unreached == {2}
    world.reach.forget()
    assert world.reach.unreached == frozenset()
    assert world.reach.next_timeout() is None


def test_an_answer_that_never_comes_is_a_failure() -> None:
    reach = Reach(Names())
    reach.checked(MAP, {RegionId(1), RegionId(2)}, Instant(0.0))
    now = 0.0
    for _ in range(10):
        due = reach.next_timeout()
        assert due is not None
        now = due
        reach.tick(Instant(now), others=True)
        if reach.unreached:
            break
    assert reach.unreached == {3}
    assert now < 60
