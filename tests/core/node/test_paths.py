from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.node.actions import Steer
from ginnel.core.node.constants import (
    CALL_BACK_AFTER,
    FIRST_ROUNDS,
    HEARTBEAT_INTERVAL,
    PING_TIMEOUT,
    PROBE_BURST,
    SESSION_ACTIVE_TIMEOUT,
    SILENCE_IS_SUSPECT,
    TRUST_UDP_ADDR_DURATION,
)
from ginnel.core.node.path_actions import Invite, PathAction, Probe, Purpose
from ginnel.core.node.paths import PathChooser
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.scoring import Proven
from ginnel.words import Endpoint, Instant, NodeKey, RegionId
from tests.core.node.ticks import ticks

BOB = NodeKey(bytes([2]) * 32)
LAN, PUBLIC = Endpoint.parse("10.0.0.2:41641"), Endpoint.parse("192.0.2.1:41641")
HOME = RegionId(3)
T0 = Instant(1000.0)


def chooser(*endpoints: Endpoint) -> PathChooser:
    made = PathChooser(BOB, ProbeBudget())
    made.region_changed(HOME, T0)
    made.map_endpoints(endpoints, T0)
    return made


def probed(actions: Iterable[PathAction]) -> list[Endpoint]:
    return [action.endpoint for action in actions if isinstance(action, Probe)]


def run(path: PathChooser, until: float) -> list[tuple[float, PathAction]]:
    return [(at, action) for at, done in ticks(path, until) for action in done]


def direct(endpoint: Endpoint = PUBLIC, latency: float = 0.04) -> PathChooser:
    path = chooser(endpoint)
    path.sent(T0)
    path.pinged(endpoint, T0)
    path.ponged(Proven(endpoint, latency), T0)
    return path


def test_a_peer_that_is_silent_plans_nothing() -> None:
    assert chooser(LAN, PUBLIC).next_timeout() is None


def test_the_first_packet_asks_everywhere_and_calls_the_peer() -> None:
    assert chooser(LAN, PUBLIC).sent(T0) == [
        Probe(LAN, Purpose.DISCOVERY),
        Probe(PUBLIC, Purpose.DISCOVERY),
        Invite(),
    ]


def test_a_peer_without_a_candidate_is_called_too() -> None:
    assert chooser().sent(T0) == [Invite()]


def test_the_first_rounds_follow_quickly_and_stop_at_a_pong() -> None:
    path = chooser(PUBLIC)
    path.sent(T0)
    rounds = [at - T0 for at, action in run(path, T0 + 2) if isinstance(action, Probe)]
    assert [round(at, 6) for at in rounds] == list(FIRST_ROUNDS[1:])
    other = chooser(PUBLIC)
    other.sent(T0)
    other.pinged(PUBLIC, Instant(T0 + 0.05))
    other.ponged(Proven(PUBLIC, 0.04), Instant(T0 + 0.05))
    assert run(other, T0 + 2) == []


def test_a_pong_steers_to_its_endpoint_alone() -> None:
    path = chooser(PUBLIC)
    path.sent(T0)
    assert path.ponged(Proven(PUBLIC, 0.04), T0) == [Steer(BOB, PUBLIC, RegionId(0))]
    assert path.trusted(T0)


def test_when_trust_ends_the_relay_is_used_as_well() -> None:
    path = direct()
    ends = Instant(T0 + TRUST_UDP_ADDR_DURATION)
    steered = [(at, action) for at, action in run(path, ends) if isinstance(action, Steer)]
    assert steered == [(ends, Steer(BOB, PUBLIC, HOME))]


def test_a_lost_ping_after_the_end_of_trust_leaves_only_the_relay() -> None:
    path = direct()
    run(path, T0 + 10)
    assert path.ping_lost(LAN, Instant(T0 + 10)) == []
    assert path.ping_lost(PUBLIC, Instant(T0 + 10)) == [Steer(BOB, None, HOME)]


def test_heartbeats_go_every_three_seconds_while_something_is_sent() -> None:
    path = direct()
    beats: list[float] = []
    for at, done in ticks(path, T0 + 200):
        for action in done:
            if isinstance(action, Probe) and not action.size:
                beats.append(at - T0)
                path.ponged(Proven(action.endpoint, 0.001), Instant(at + 0.001))
    assert beats == [HEARTBEAT_INTERVAL * n for n in range(1, 15)]
    assert beats[-1] < SESSION_ACTIVE_TIMEOUT
    assert path.next_timeout() is None


def test_a_ping_of_the_peer_is_answered_with_one_of_ours_until_the_path_is_trusted() -> None:
    path = chooser()
    assert path.pinged(PUBLIC, T0) == [Probe(PUBLIC, Purpose.DISCOVERY)]
    assert path.pinged(PUBLIC, Instant(T0 + 0.01)) == []
    path.ponged(Proven(PUBLIC, 0.04), Instant(T0 + 0.02))
    assert path.pinged(PUBLIC, Instant(T0 + 1.0)) == []
    assert path.pinged(LAN, Instant(T0 + 1.0)) == [Probe(LAN, Purpose.DISCOVERY)]


def test_a_call_me_maybe_asks_everywhere_at_once_and_is_not_answered_with_one() -> None:
    path = chooser(LAN)
    path.sent(T0)
    actions = path.called([PUBLIC], Instant(T0 + 0.03))
    assert probed(actions) == [LAN, PUBLIC]
    assert Invite() not in actions


def test_calls_without_end_cost_a_bounded_number_of_probes() -> None:
    path = chooser(PUBLIC)
    probes = [e for n in range(600) for e in probed(path.called([PUBLIC], Instant(T0 + n / 10)))]
    assert len(probes) <= PROBE_BURST + 60


def test_data_never_moves_the_path() -> None:
    path = direct()
    path.received(LAN, Instant(T0 + 1))
    assert path.endpoint == PUBLIC
    assert LAN not in path.candidates


def test_a_better_path_replaces_a_trusted_one_and_a_worse_one_does_not() -> None:
    path = direct(PUBLIC, 0.04)
    path.map_endpoints([PUBLIC, LAN], T0)
    assert path.ponged(Proven(LAN, 0.001), T0) == [Steer(BOB, LAN, RegionId(0))]
    assert path.ponged(Proven(PUBLIC, 0.04), T0) == []


def test_any_pong_replaces_a_path_that_lost_its_trust() -> None:
    path = direct(LAN, 0.001)
    run(path, T0 + TRUST_UDP_ADDR_DURATION)
    assert path.ponged(Proven(PUBLIC, 0.3), Instant(T0 + 7)) == [Steer(BOB, PUBLIC, RegionId(0))]


def test_a_flow_that_falls_silent_is_asked_and_loses_trust_without_an_answer() -> None:
    path = direct()
    path.sent(Instant(T0 + 0.8))
    path.received(PUBLIC, Instant(T0 + 1))
    path.sent(Instant(T0 + 1.5))
    path.sent(Instant(T0 + 2.0))
    events = run(path, T0 + 1 + SILENCE_IS_SUSPECT + 0.3)
    assert events[0][1] == Probe(PUBLIC, Purpose.HEARTBEAT)
    assert Steer(BOB, PUBLIC, HOME) in [action for _, action in events]


def test_data_by_another_way_does_not_vouch_for_the_path_in_use() -> None:
    path = direct()
    path.received(PUBLIC, T0)
    path.sent(Instant(T0 + 0.1))
    path.received(LAN, Instant(T0 + 1.0))
    path.received(None, Instant(T0 + 1.0))
    assert set(probed(path.sent(Instant(T0 + 1.31)))) == {PUBLIC}


def test_data_by_another_way_does_not_put_the_question_off() -> None:
    path = direct()
    path.received(PUBLIC, T0)
    path.sent(Instant(T0 + 0.1))
    path.sent(Instant(T0 + 0.6))
    path.received(LAN, Instant(T0 + 0.7))
    assert (T0 + SILENCE_IS_SUSPECT, Probe(PUBLIC, Purpose.HEARTBEAT)) in run(path, T0 + 1.3)


def test_silence_is_no_news_where_nothing_is_sent() -> None:
    path = direct()
    path.received(PUBLIC, Instant(T0 + 2))
    assert run(path, T0 + 2.9) == []
    assert run(path, T0 + 3.5) == [(T0 + 3.0, Probe(PUBLIC, Purpose.HEARTBEAT))]


def test_a_way_that_the_kernel_does_not_have_is_left_at_once() -> None:
    path = direct()
    actions = path.unsendable(PUBLIC, Instant(T0 + 1))
    assert actions[0] == Steer(BOB, None, HOME)
    assert path.unsendable(LAN, Instant(T0 + 1)) == []


def test_after_moving_nothing_is_proven_and_everything_is_asked() -> None:
    path = direct()
    actions = path.moved(Instant(T0 + 1))
    assert actions[0] == Steer(BOB, PUBLIC, HOME)
    assert not path.trusted(Instant(T0 + 1))
    assert probed(actions) == [PUBLIC]
    assert Invite() in actions


def test_fruitless_searches_come_ever_more_seldom() -> None:
    path = chooser(PUBLIC)
    count = 0
    for second in range(120):
        now = Instant(T0 + second)
        count += len(probed(path.sent(now)))
        events = run(path, now + 0.999)
        count += len(probed(action for _, action in events))
    assert count / 2 <= 35
    assert PING_TIMEOUT == 5.0


def test_a_new_relay_of_the_peer_is_steered_to() -> None:
    path = chooser()
    assert path.region_changed(RegionId(9), T0) == [Steer(BOB, None, RegionId(9))]


def test_what_an_auxiliary_socket_proves_is_steered_to_and_kept_by_that_socket() -> None:
    path = chooser(PUBLIC)
    path.sent(T0)
    assert path.ponged(Proven(PUBLIC, 0.04, socket=7), T0) == [Steer(BOB, PUBLIC, RegionId(0), 7)]
    beats = [action for _, action in run(path, T0 + HEARTBEAT_INTERVAL) if isinstance(action, Probe)]
    assert beats == [Probe(PUBLIC, Purpose.HEARTBEAT, 7)]


def test_a_ping_to_an_auxiliary_socket_is_answered_from_it_and_makes_no_candidate() -> None:
    path = chooser()
    assert path.pinged(PUBLIC, T0, socket=7) == [Probe(PUBLIC, Purpose.DISCOVERY, 7)]
    assert PUBLIC not in path.candidates


def test_a_search_is_told_from_its_beginning_to_its_end() -> None:
    path = chooser(PUBLIC)
    assert path.searching_since is None
    path.sent(T0)
    run(path, T0 + 10)
    assert path.searching_since == T0
    path.ponged(Proven(PUBLIC, 0.04), Instant(T0 + 11))
    assert path.searching_since is None
    other = chooser(PUBLIC)
    other.sent(T0)
    run(other, T0 + SESSION_ACTIVE_TIMEOUT + 10)
    assert other.searching_since is None


def test_a_peer_that_does_not_ping_back_is_called_soon_after_the_path_is_proven() -> None:
    path = chooser(PUBLIC)
    path.sent(T0)
    run(path, T0 + 1)
    path.ponged(Proven(PUBLIC, 0.04), Instant(T0 + 1.1))
    assert Invite() in [action for _, action in run(path, T0 + 1.1 + CALL_BACK_AFTER)]
    early = chooser(PUBLIC)
    early.sent(T0)
    early.ponged(Proven(PUBLIC, 0.04), Instant(T0 + 0.05))
    assert [at - T0 for at, action in run(early, T0 + 2) if action == Invite()] == [1.0]  # one went out at T0
    knows = chooser(PUBLIC)
    knows.sent(T0)
    run(knows, T0 + 1)
    knows.pinged(PUBLIC, Instant(T0 + 1.05))
    knows.ponged(Proven(PUBLIC, 0.04), Instant(T0 + 1.1))
    assert run(knows, T0 + 1.1 + CALL_BACK_AFTER) == []


def test_a_call_that_waits_for_the_gap_goes_out_when_it_ends_whatever_the_difference_is_rounded_to() -> None:
    for step in range(200):
        path = chooser(PUBLIC)
        path.sent(began := Instant(1023.1 + step * 0.00137))  # from 1024 on a float has one bit less for the rest
        path.ponged(Proven(PUBLIC, 0.04), Instant(began + 0.05))
        assert [action for _, action in run(path, began + 1.5)].count(Invite()) == 1, step


def test_who_calls_while_we_think_we_have_a_path_makes_us_ask_and_not_wait_long() -> None:
    path = direct()
    assert probed(path.called([LAN], Instant(T0 + 2))) == [PUBLIC, LAN]
    steered = [(round(at - T0, 3), action) for at, action in run(path, T0 + 2.9) if isinstance(action, Steer)]
    assert steered == [(2.12, Steer(BOB, PUBLIC, HOME))]


def test_when_a_path_is_lost_another_that_answered_meanwhile_is_used_at_once() -> None:
    path = direct(LAN, 0.001)
    path.called([LAN, PUBLIC], Instant(T0 + 2))
    assert path.ponged(Proven(PUBLIC, 0.04), Instant(T0 + 2.04)) == []
    steered = [action for _, action in run(path, T0 + 2.5) if isinstance(action, Steer)]
    assert steered == [Steer(BOB, PUBLIC, RegionId(0))]


def test_a_refused_packet_adds_the_relay_until_the_next_pong() -> None:
    path = direct()
    assert path.refused(PUBLIC, Instant(T0 + 1))[0] == Steer(BOB, PUBLIC, HOME)
    assert path.refused(PUBLIC, Instant(T0 + 1)) == []
    assert path.ponged(Proven(PUBLIC, 0.04), Instant(T0 + 1.1)) == [Steer(BOB, PUBLIC, RegionId(0))]
