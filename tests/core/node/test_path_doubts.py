"""A path that answers pings, and what speaks against it all the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ginnel.core.node.actions import Steer
from ginnel.core.node.constants import FULL_SIZE, SHUNNED_FIRST, SIZE_AGAIN
from ginnel.core.node.path_actions import PathAction, Probe, Purpose, Question
from ginnel.core.node.path_policy import PathPolicy
from ginnel.core.node.paths import PathChooser
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.scoring import Proven, wire_size
from ginnel.core.node.shunned import Fault
from ginnel.words import Endpoint, Instant, NodeKey, RegionId

BOB = NodeKey(bytes([2]) * 32)
LAN, PUBLIC = Endpoint.parse("10.0.0.2:41641"), Endpoint.parse("192.0.2.1:41641")
HOME, NONE = RegionId(3), RegionId(0)
T0 = Instant(1000.0)
RTT = 0.04


class Wire:
    """Drives a chooser in steps of 10 ms: its pings to `alive` come back, those of `largest` bytes at most."""

    def __init__(self, *, largest: int = 9000, policy: PathPolicy = PathPolicy.AUTO, region: RegionId = HOME) -> None:
        self.path = PathChooser(BOB, ProbeBudget(), policy)
        self.now = T0
        self.alive = {PUBLIC}
        self.largest = largest
        self.steers: list[tuple[float, Endpoint | None, RegionId]] = []
        self.probes: list[tuple[float, Probe]] = []
        self._pongs: list[tuple[Instant, Proven]] = []
        self.take(self.path.region_changed(region, T0))
        self.take(self.path.map_endpoints([PUBLIC], T0))

    def take(self, actions: list[PathAction]) -> None:
        for action in actions:
            match action:
                case Steer(_, endpoint, region):
                    self.steers.append((round(self.now - T0, 2), endpoint, region))
                case Probe(endpoint, _, _, size):
                    self.probes.append((round(self.now - T0, 2), action))
                    if endpoint in self.alive and size <= self.largest:
                        mtu = wire_size(endpoint, size) if size else 0
                        self._pongs.append((Instant(self.now + RTT), Proven(endpoint, RTT, mtu)))

    def run(self, seconds: float, each: Callable[[int], None] = lambda _: None) -> None:
        """`each` is called every half second."""
        for step in range(round(seconds * 100)):
            self.now = Instant(self.now + 0.01)
            due = [pong for pong in self._pongs if pong[0] <= self.now]
            self._pongs = [pong for pong in self._pongs if pong[0] > self.now]
            for _, proven in due:
                self.take(self.path.ponged(proven, self.now))
            self.take(self.path.tick(self.now))
            if step % 50 == 0:
                each(step // 50)

    def send(self) -> None:
        self.take(self.path.sent(self.now))

    def hear(self, by: Endpoint | None) -> None:
        self.take(self.path.received(by, self.now))

    def talk(self, _: int) -> None:
        self.send()
        self.hear(PUBLIC)

    @property
    def way(self) -> tuple[Endpoint | None, RegionId]:
        return self.steers[-1][1:]


def talking() -> Wire:
    wire = Wire()
    wire.send()
    wire.run(10, wire.talk)
    assert wire.way == (PUBLIC, NONE)
    return wire


def test_the_relay_stays_beside_a_new_way_until_a_large_ping_came_back() -> None:
    wire = Wire()
    wire.send()
    wire.run(1)
    assert wire.steers == [(0.0, None, HOME), (0.04, PUBLIC, HOME), (0.08, PUBLIC, NONE)]
    assert [(at, probe.size) for at, probe in wire.probes] == [(0.0, 0), (0.04, FULL_SIZE)]


def test_a_way_that_loses_large_packets_is_left_for_the_relay_within_two_seconds() -> None:
    wire = Wire(largest=1200)
    wire.send()
    wire.run(2, lambda _: wire.send())
    assert wire.way == (None, HOME)
    assert (PUBLIC, NONE) not in [steer[1:] for steer in wire.steers]
    assert [(endpoint, held.fault) for endpoint, held in wire.path.shunned.each(wire.now)] == [(PUBLIC, Fault.SIZE)]
    assert wire.path.deaf_to(PUBLIC, wire.now) == "disco.shunned"


def test_a_large_ping_that_was_out_when_trust_ended_is_sent_again() -> None:
    wire = Wire(largest=1200)
    wire.send()
    wire.run(0.06)
    wire.take(wire.path.restarted(wire.now))
    wire.largest = 9000
    wire.run(8, lambda _: wire.send())
    assert wire.way == (PUBLIC, NONE)


def test_without_a_relay_a_way_for_small_packets_is_better_than_none() -> None:
    wire = Wire(largest=1200, region=NONE)
    wire.send()
    wire.run(10, lambda _: wire.send())
    assert wire.way == (PUBLIC, NONE)


def test_a_way_that_becomes_too_narrow_under_small_traffic_is_found_out() -> None:
    wire = talking()
    wire.largest = 1200
    wire.run(SIZE_AGAIN + 5, wire.talk)
    assert wire.way == (None, HOME)


def test_a_better_way_must_carry_large_packets_before_it_replaces_one_that_does() -> None:
    wire = talking()
    wire.alive.add(LAN)
    wire.largest = 1200
    wire.take(wire.path.called([PUBLIC, LAN], wire.now))
    wire.run(0.3, wire.talk)
    assert wire.path.endpoint == PUBLIC
    wire.largest = 9000
    wire.run(70, wire.talk)
    assert wire.path.endpoint == LAN


def test_a_way_where_data_dies_and_disco_lives_is_left_for_the_relay() -> None:
    """The peer makes the same trial, so its data comes by the relay once it has heard nothing itself."""
    wire = talking()
    began = wire.now

    def dead(_: int) -> None:
        wire.send()
        if wire.way[1]:
            wire.hear(None)

    wire.run(6, dead)
    assert wire.way == (None, HOME)
    tried = next(at for at, endpoint, region in wire.steers if at > began - T0 and region)
    assert tried - (began - T0) <= 1.6
    assert next(iter(wire.path.shunned.each(wire.now)))[1].fault is Fault.DATA


def test_a_peer_that_only_pauses_keeps_its_way_and_costs_the_relay_three_seconds() -> None:
    wire = talking()
    wire.run(6, lambda _: wire.send())
    wire.run(5, wire.talk)
    assert wire.way == (PUBLIC, NONE)
    assert list(wire.path.shunned.each(wire.now)) == []
    relayed = [(at, region) for at, _, region in wire.steers if at > 10]
    assert [region for _, region in relayed] == [HOME, NONE]
    assert relayed[1][0] - relayed[0][0] <= 3.1


def test_a_peer_that_uses_another_way_to_us_is_no_reason_to_leave_ours() -> None:
    wire = talking()

    def asymmetric(_: int) -> None:
        wire.send()
        wire.hear(LAN)

    wire.run(60, asymmetric)
    assert wire.path.endpoint == PUBLIC
    assert list(wire.path.shunned.each(wire.now)) == []


def test_a_convicted_way_is_not_asked_while_it_is_shunned_and_then_tried_beside_the_relay() -> None:
    wire = talking()
    wire.run(6, lambda _: (wire.send(), wire.hear(None) if wire.way[1] else None))  # type: ignore[arg-type,func-returns-value]
    convicted = next(at for at, endpoint, _ in wire.steers if at > 1 and endpoint is None)
    wire.run(SHUNNED_FIRST + 8, lambda _: (wire.send(), wire.hear(None)))  # type: ignore[arg-type,func-returns-value]
    asked = [at for at, _ in wire.probes if at > convicted]
    assert min(asked) - convicted >= SHUNNED_FIRST
    again = [steer[1:] for steer in wire.steers if steer[0] > convicted]
    assert again == [(PUBLIC, HOME), (None, HOME)]  # never alone, and convicted again
    assert not wire.path.direct(wire.now)


def test_a_convicted_way_that_is_sound_again_is_used_again() -> None:
    wire = talking()
    wire.run(6, lambda _: (wire.send(), wire.hear(None) if wire.way[1] else None))  # type: ignore[arg-type,func-returns-value]
    assert wire.way == (None, HOME)

    def sound(_: int) -> None:
        wire.send()
        wire.hear(wire.path.endpoint)

    wire.run(SHUNNED_FIRST + 8, sound)
    assert wire.way == (PUBLIC, NONE)
    assert wire.path.direct(wire.now)


def test_a_peer_that_owes_a_keepalive_by_a_way_it_trusts_is_not_reached() -> None:
    """An official peer makes no trial: only our silence towards its pings moves it."""
    wire = talking()
    wire.run(14, lambda _: wire.send())
    assert wire.path.deaf_to(PUBLIC, wire.now) == "disco.shunned"


def test_a_loss_of_one_in_ten_convicts_nobody() -> None:
    wire = Wire()
    count = 0
    keep = wire.take

    def lossy(actions: list[PathAction]) -> None:
        nonlocal count
        for action in actions:
            count += isinstance(action, Probe)
            wire.alive = set() if isinstance(action, Probe) and count % 10 == 0 else {PUBLIC}
            keep([action])

    wire.take = lossy  # type: ignore[method-assign]
    wire.send()
    wire.run(300, wire.talk)
    assert list(wire.path.shunned.each(wire.now)) == []


def test_relay_alone_asks_nobody_and_answers_nobody() -> None:
    wire = Wire(policy=PathPolicy.RELAY)
    wire.send()
    wire.run(10, lambda _: (wire.send(), wire.hear(None)))  # type: ignore[arg-type,func-returns-value]
    wire.take(wire.path.called([PUBLIC, LAN], wire.now))
    wire.take(wire.path.pinged(PUBLIC, wire.now))
    assert wire.probes == []
    assert wire.steers == [(0.0, None, HOME)]
    assert wire.path.deaf_to(PUBLIC, wire.now) == "disco.path_policy"
    assert wire.path.next_timeout() is None


def test_direct_alone_never_names_a_relay() -> None:
    wire = Wire(policy=PathPolicy.DIRECT)
    wire.send()
    wire.run(2, lambda _: wire.send())
    wire.alive = set()
    wire.run(20, lambda _: wire.send())
    assert {region for _, _, region in wire.steers} == {RegionId(0xFFFF_FFFF)}
    assert wire.path.relay_in_use == NONE


def test_a_policy_may_change_under_traffic() -> None:
    wire = talking()
    wire.take(wire.path.policy_changed(PathPolicy.RELAY, wire.now))
    assert wire.way == (None, HOME)
    wire.take(wire.path.policy_changed(PathPolicy.AUTO, wire.now))
    wire.run(1, wire.talk)
    assert wire.way == (PUBLIC, NONE)


def test_who_wants_the_direct_way_alone_gets_it_though_it_failed_before() -> None:
    wire = Wire()
    wire.run(1.0, lambda _: wire.take(wire.path.sent(wire.now)))
    assert wire.path.trusted(wire.now)
    wire.take(wire.path._convict(Fault.DATA, wire.now))
    wire.take(wire.path.policy_changed(PathPolicy.DIRECT, wire.now))

    def both_talk(_: int) -> None:
        wire.take(wire.path.sent(wire.now))
        wire.take(wire.path.received(None, wire.now))

    wire.run(10.0, both_talk)
    assert wire.path.trusted(wire.now)


def test_a_lost_keepalive_is_asked_for_inside_the_tunnel_and_ends_no_path() -> None:
    wire = talking()
    asked: list[float] = []
    keep = wire.take

    def answering(actions: list[PathAction]) -> None:
        if Question() in actions:
            asked.append(wire.now)
            wire.path.received(PUBLIC, wire.now)
        keep(actions)

    wire.take = answering  # type: ignore[method-assign]
    wire.run(60, lambda _: wire.send())
    assert len(asked) == 5
    assert list(wire.path.shunned.each(wire.now)) == []
    assert wire.way == (PUBLIC, NONE)


def test_a_question_comes_with_a_ping_that_shows_the_peer_where_we_are() -> None:
    wire = talking()
    asked: list[list[PathAction]] = []
    keep = wire.take

    def noting(actions: list[PathAction]) -> None:
        if Question() in actions:
            asked.append(actions)
        keep(actions)

    wire.take = noting  # type: ignore[method-assign]
    wire.run(14, lambda _: wire.send())
    assert asked == [[Probe(PUBLIC, Purpose.HEARTBEAT), Question()]] * 3


def test_where_nothing_but_the_direct_way_may_be_used_nobody_is_asked_for_keepalives() -> None:
    wire = Wire(policy=PathPolicy.DIRECT)
    wire.send()
    wire.run(10, wire.talk)
    asked: list[PathAction] = []
    keep = wire.take
    wire.take = lambda actions: (asked.extend(actions), keep(actions))[1]  # type: ignore[method-assign]
    wire.run(30, lambda _: wire.send())
    assert Question() not in asked


def moved(wire: Wire) -> None:
    """The peer is at LAN now and nowhere else; data and pings to PUBLIC are lost."""
    wire.alive = {LAN}


def test_a_peer_that_calls_from_elsewhere_is_followed_with_the_first_pong() -> None:
    wire = talking()
    wire.run(2.0, wire.talk)
    moved(wire)
    began = wire.now
    wire.take(wire.path.called([LAN], wire.now))
    wire.run(RTT + 0.011)
    assert wire.path.endpoint == LAN
    assert wire.now - began < 0.06


def test_a_peer_heard_by_the_relay_though_it_has_a_path_is_followed_with_the_first_pong() -> None:
    """It still lists where it was."""
    wire = talking()
    wire.run(2.0, wire.talk)
    moved(wire)
    wire.hear(None)
    wire.take(wire.path.called([PUBLIC, LAN], wire.now))
    wire.run(RTT + 0.011)
    assert wire.path.endpoint == LAN


def test_a_call_moves_no_path_that_answers_first() -> None:
    wire = talking()
    wire.run(2.0, wire.talk)
    wire.take(wire.path.called([Endpoint.parse("192.0.2.7:7")], wire.now))
    wire.run(RTT + 0.011)
    far = Proven(Endpoint.parse("192.0.2.7:7"), 0.09)
    wire.take(wire.path.ponged(far, wire.now))
    assert wire.path.endpoint == PUBLIC


def test_what_a_peer_answers_elsewhere_asks_the_path_in_use_too() -> None:
    """It has moved, or its NAT maps it anew; without the question the old address would be trusted for seconds."""
    wire = talking()
    wire.run(2.0, wire.talk)
    wire.alive = set()
    wire.take(wire.path.pinged(LAN, wire.now))
    wire.take(wire.path.ponged(Proven(LAN, 0.05), wire.now))
    wire.run(0.3)
    assert wire.path.endpoint == LAN


def test_rare_packets_too_are_asked_about_before_silence_convicts() -> None:
    wire = talking()
    seen: list[str] = []
    keep = wire.take

    def noting(actions: list[PathAction]) -> None:
        seen.extend("question" for action in actions if isinstance(action, Question))
        keep(actions)
        seen.extend("convicted" for _ in wire.path.shunned.each(wire.now) if "convicted" not in seen)

    wire.take = noting  # type: ignore[method-assign]
    wire.run(20, lambda half: wire.send() if half % 4 == 1 else None)
    assert seen == ["question", "question", "question", "convicted"]


@pytest.mark.parametrize("change", [PathChooser.moved, PathChooser.restarted])
def test_after_a_move_or_a_restart_the_silence_before_it_does_not_count(
    change: Callable[[PathChooser, Instant], list[PathAction]],
) -> None:
    wire = talking()
    wire.run(8, lambda _: wire.send())
    wire.take(change(wire.path, wire.now))
    wire.run(8, lambda _: wire.send())
    assert list(wire.path.shunned.each(wire.now)) == []
    assert wire.way == (PUBLIC, NONE)
