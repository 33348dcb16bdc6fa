"""When a relay enters the map and leaves it, under a clock of the test's own."""

from __future__ import annotations

from dataclasses import dataclass, field

from ginnel.core.control.fleet import Fleet
from ginnel.core.control.fleet_states import (
    Announced,
    Drained,
    Draining,
    Failing,
    FleetRules,
    InMap,
    Moved,
    Out,
    Probe,
    Probing,
    Suspicion,
    kept,
)
from ginnel.words import Instant

RULES = FleetRules(interval=15.0, failures=3, recoveries=2, again=2.0)


@dataclass
class World:
    """Relays answer probes at once, good unless they are among the `dead`."""

    now: float = 1000.0
    dead: set[int] = field(default_factory=set)
    said: list[object] = field(default_factory=list)
    probes: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.fleet = Fleet(RULES, lambda size: bytes([128]) * size)

    def do(self, actions: list[object]) -> None:
        waiting = list(actions)
        while waiting:
            action = waiting.pop(0)
            self.said.append(action)
            if isinstance(action, Probe):
                self.probes.append((self.now, action.relay))
                good = action.relay not in self.dead
                waiting += self.fleet.probed(action.relay, good, "" if good else "no answer", Instant(self.now))

    def join(self, *relays: int) -> World:
        for relay in relays:
            self.do([*self.fleet.joined(relay, Instant(self.now))])
        return self

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.fleet.next_timeout()) is not None and due <= end:
            self.now = max(due, self.now)
            self.do([*self.fleet.tick(Instant(self.now))])
        self.now = end

    def suspicions(self) -> list[bool]:
        return [action.holds for action in self.said if isinstance(action, Suspicion)]


def test_a_relay_enters_the_map_with_its_first_good_probe_and_not_before() -> None:
    world = World(dead={1}).join(1)
    assert not world.fleet.in_map(1)
    world.run(60.0)
    assert isinstance(world.fleet.state(1), Probing)
    world.dead.clear()
    world.run(20.0)
    assert world.fleet.state(1) == InMap()


def test_one_that_fails_is_looked_at_again_soon_and_out_after_three_failures() -> None:
    world = World().join(1, 2, 3)
    world.dead = {1}
    world.do([*world.fleet.hint(1, Instant(world.now))])
    assert world.fleet.state(1) == Failing(Instant(1000.0))
    world.run(2 * RULES.again - 0.1)
    assert world.fleet.in_map(1)
    world.run(0.2)
    assert world.fleet.state(1) == Out()
    assert not world.fleet.in_map(1)


def test_a_single_failure_moves_nothing() -> None:
    world = World().join(1, 2, 3)
    world.dead = {1}
    world.do([*world.fleet.hint(1, Instant(world.now))])
    world.dead = set()
    world.run(5.0)
    assert world.fleet.state(1) == InMap()
    assert not any(isinstance(a, Moved) and isinstance(a.state, Out) for a in world.said)


def test_it_is_back_after_two_good_probes_in_a_row() -> None:
    world = World().join(1, 2, 3)
    world.dead = {1}
    world.run(60.0)
    assert isinstance(world.fleet.state(1), Out)
    world.dead = set()
    world.do([*world.fleet.hint(1, Instant(world.now))])
    assert world.fleet.state(1) == Out(good=1)
    world.run(RULES.again)
    assert world.fleet.state(1) == InMap()


def test_when_most_fail_at_once_the_servers_own_network_is_suspected_and_nothing_is_taken_out() -> None:
    world = World().join(1, 2, 3)
    world.dead = {1, 2}
    world.run(300.0)
    assert [world.fleet.in_map(relay) for relay in (1, 2, 3)] == [True, True, True]
    assert world.suspicions() == [True]
    world.dead = set()
    world.run(60.0)
    assert world.suspicions() == [True, False]


def test_half_of_the_fleet_is_not_most_of_it() -> None:
    world = World().join(1, 2, 3, 4)
    world.dead = {1, 2}
    world.run(120.0)
    assert [world.fleet.in_map(relay) for relay in (1, 2, 3, 4)] == [False, False, True, True]


def test_the_last_relay_is_never_taken_out() -> None:
    world = World().join(1)
    world.dead = {1}
    world.run(300.0)
    assert world.fleet.in_map(1)


def test_a_restart_leaves_everybody_where_they_were() -> None:
    world = World()
    for relay, was in ((1, "in"), (2, "out"), (3, "drained")):
        world.fleet.restored(relay, was, Instant(world.now), Instant(world.now))  # type: ignore[arg-type]
    assert [world.fleet.in_map(relay) for relay in (1, 2, 3)] == [True, False, False]
    world.run(60.0)
    assert [world.fleet.in_map(relay) for relay in (1, 2, 3)] == [True, True, False]
    assert 3 not in {relay for _, relay in world.probes}


def test_a_drain_ends_when_nobody_is_left_or_at_its_deadline() -> None:
    world = World().join(1, 2, 3)
    for relay in (1, 2):
        world.do([*world.fleet.drain(relay, Instant(world.now + 60.0))])
        assert isinstance(world.fleet.state(relay), Draining)
        assert world.fleet.in_map(relay)
    world.do([*world.fleet.emptied(1)])
    assert world.fleet.state(1) == Drained()
    world.run(59.0)
    assert world.fleet.in_map(2)
    world.run(2.0)
    assert world.fleet.state(2) == Drained()


def test_a_relay_takes_back_its_own_wish_to_be_drained_and_no_admins_word() -> None:
    until = Instant(1600.0)
    for own_first, empty in ((True, True), (True, False), (False, True), (False, False)):
        world = World().join(1, 2)
        world.do([*world.fleet.drain(1, until, own=own_first)])
        if empty:
            world.do([*world.fleet.emptied(1)])
        world.do([*world.fleet.drain(1, until, own=not own_first)])
        world.do([*world.fleet.undrain(1, Instant(world.now), own=True)])
        assert world.fleet.state(1) == (Drained() if empty else Draining(until))
        assert kept(world.said[-1].state) == ("drained" if empty else "draining")
        world.do([*world.fleet.undrain(1, Instant(world.now))])
        assert world.fleet.state(1) == InMap()


def test_whose_wish_a_drain_was_is_known_after_a_restart() -> None:
    world = World().join(1, 2)
    for was, back in (("leaving", True), ("left", True), ("draining", False), ("drained", False)):
        world.fleet.restored(1, was, Instant(world.now), Instant(1600.0))
        assert kept(world.fleet.state(1)) == was
        world.do([*world.fleet.undrain(1, Instant(world.now), own=True)])
        assert (world.fleet.state(1) == InMap()) is back


def test_another_deadline_of_a_drain_is_told() -> None:
    world = World().join(1, 2)
    world.do([*world.fleet.drain(1, Instant(1600.0))])
    assert world.fleet.drain(1, Instant(4000.0)) == [Moved(1, Draining(Instant(4000.0)))]


def test_a_relay_that_was_removed_meanwhile_is_neither_drained_nor_a_fault() -> None:
    fleet = World().fleet
    assert fleet.drain(7, Instant(0.0)) == fleet.undrain(7, Instant(0.0)) == []
    assert (fleet.state(7), fleet.why(7), fleet.in_map(7)) == (Probing(), "", False)


def test_a_drained_relay_is_looked_at_before_it_is_used_again() -> None:
    world = World().join(1, 2)
    world.do([*world.fleet.drain(1, Instant(world.now)), *world.fleet.emptied(1)])
    world.dead = {1}
    world.do([*world.fleet.undrain(1, Instant(world.now))])
    assert not world.fleet.in_map(1)
    world.dead = set()
    world.run(20.0)
    assert world.fleet.in_map(1)


def test_an_undrained_relay_stays_in_the_map() -> None:
    world = World().join(1, 2)
    world.do([*world.fleet.drain(1, Instant(world.now + 60.0)), *world.fleet.undrain(1, Instant(world.now))])
    world.run(120.0)
    assert world.fleet.state(1) == InMap()


def test_relays_that_are_well_are_probed_about_every_fifteen_seconds() -> None:
    world = World().join(1)
    world.probes.clear()
    world.run(150.0)
    assert 8 <= len(world.probes) <= 13


def test_a_relay_that_is_not_watched_is_never_probed() -> None:
    world = World()
    world.fleet.restored(1, "in", Instant(world.now), Instant(world.now), watched=False)
    world.run(100.0)
    world.do([*world.fleet.hint(1, Instant(world.now))])
    assert world.probes == []
    world.do([*world.fleet.drain(1, Instant(world.now)), *world.fleet.emptied(1)])
    world.do([*world.fleet.undrain(1, Instant(world.now))])
    assert world.fleet.in_map(1)


def test_a_relay_that_must_be_announced_enters_the_map_when_its_time_has_come() -> None:
    world = World()
    fleet, ready = world.fleet, Instant(1900.0)
    fleet.joined(1, Instant(1000.0))
    assert fleet.probed(1, True, "", Instant(1000.0), ready) == [Moved(1, Announced(ready))]
    assert not fleet.in_map(1)
    while (due := fleet.next_timeout()) is not None and due < ready:
        assert fleet.tick(due) == [Probe(1)]
        assert fleet.probed(1, True, "", due, ready) == []
    assert due == ready, "it is looked at the moment that it may enter"
    assert fleet.tick(ready) == [Probe(1)]
    assert fleet.probed(1, True, "", ready, ready) == [Moved(1, InMap())]
    assert fleet.in_map(1)


def test_an_announced_relay_that_fails_is_not_in_the_map_when_its_time_comes() -> None:
    fleet = World().fleet
    fleet.joined(1, Instant(1000.0))
    fleet.probed(1, True, "", Instant(1000.0), Instant(1010.0))
    fleet.hint(1, Instant(1005.0))
    assert fleet.probed(1, False, "no answer", Instant(1005.0)) == [Moved(1, Probing(), "no answer")]
    assert not fleet.in_map(1)


def test_a_relay_that_comes_back_too_late_is_announced_again() -> None:
    fleet = World().fleet
    fleet.restored(1, "out", Instant(1000.0), Instant(1000.0))
    now, ready = Instant(1000.0), Instant(2000.0)
    for _ in range(RULES.recoveries):
        now = fleet.next_timeout() or now
        fleet.tick(now)
        fleet.probed(1, True, "", now, ready)
    assert fleet.state(1) == Announced(ready)
    assert fleet.drain(1, Instant(3000.0)) == [Moved(1, Drained(), "it was not in the map")]
