"""Whole meshes under a virtual clock. A failure names its seed; `SimMesh(seed)` replays it."""

from __future__ import annotations

from random import Random
from statistics import median, quantiles

import pytest

from ginnel.core.node.actions import Action, PingAnswered
from ginnel.testing.mesh import SimMesh
from ginnel.testing.nat import EASY, EASY_ADDRESS, FULL_CONE, HARD, UDP_BLOCKED, NatKind
from ginnel.testing.oracle_search import SEARCHES_WITHIN
from ginnel.words import Instant, RegionId

SETTLED = 2.0  # seconds from the start until every node has a home and has told control its endpoints


def pair(seed: int, a: NatKind | None, b: NatKind | None, **options: float) -> SimMesh:
    mesh = SimMesh(seed, **options)  # type: ignore[arg-type]
    mesh.node("a", a)
    mesh.node("b", b)
    mesh.clock.run(SETTLED)
    return mesh


def talking(mesh: SimMesh) -> SimMesh:
    mesh.talk("a", "b")
    return mesh


def probes_per_minute(mesh: SimMesh, name: str, seconds: float) -> float:
    before = sum(count for (who, _), count in mesh.watch.probes.items() if who == name)
    mesh.clock.run(seconds)
    after = sum(count for (who, _), count in mesh.watch.probes.items() if who == name)
    return (after - before) * 60 / seconds


DIRECT_PAIRS = [
    (None, None),
    (None, EASY),
    (EASY, EASY),
    (EASY_ADDRESS, EASY_ADDRESS),
    (FULL_CONE, EASY),
    (FULL_CONE, HARD),
    (EASY_ADDRESS, HARD),
    (None, HARD),
]
RELAYED_PAIRS = [(HARD, HARD), (UDP_BLOCKED, None), (UDP_BLOCKED, EASY), (UDP_BLOCKED, UDP_BLOCKED)]


def both_orders(pairs: list[tuple[NatKind | None, NatKind | None]]) -> list[tuple[NatKind | None, NatKind | None]]:
    return list(dict.fromkeys(order for a, b in pairs for order in ((a, b), (b, a))))


@pytest.mark.parametrize(("a", "b"), both_orders(DIRECT_PAIRS), ids=lambda kind: kind.name if kind else "none")
def test_pairs_that_can_be_direct_are_so_at_once_at_both_ends(a: NatKind | None, b: NatKind | None) -> None:
    times = []
    for seed in range(20):
        mesh = talking(pair(seed, a, b))
        began = mesh.clock.now
        assert mesh.clock.run_until(lambda mesh=mesh: mesh.both_direct("a", "b"), limit=3.0), f"seed {seed}"
        times.append(mesh.clock.now - began)
    assert median(times) <= 0.3


@pytest.mark.parametrize(("a", "b"), both_orders(RELAYED_PAIRS), ids=lambda kind: kind.name if kind else "none")
def test_pairs_that_cannot_be_direct_are_usable_by_relay(a: NatKind | None, b: NatKind | None) -> None:
    mesh = pair(1, a, b)
    if UDP_BLOCKED in (a, b):
        mesh.clock.run(4.0)
    talking(mesh)
    assert mesh.clock.run_until(lambda: mesh.nodes["b"].delivered["a"] > 0, limit=0.3)
    mesh.clock.run(30.0)
    assert not mesh.direct("a", "b")
    assert not mesh.direct("b", "a")
    assert mesh.nodes["a"].delivered["b"] > 250


def test_a_cold_pair_without_udp_needs_no_net_check_for_its_first_byte() -> None:
    """Both have just come up, neither's check is over: the only relay there is carries at once."""
    mesh = SimMesh(1)
    mesh.node("a", UDP_BLOCKED)
    mesh.node("b", UDP_BLOCKED)
    talking(mesh)
    assert mesh.clock.run_until(lambda: mesh.nodes["b"].delivered["a"] > 0, limit=0.6)


def test_a_home_that_the_first_check_confirms_is_told_once() -> None:
    mesh = pair(1, EASY, EASY)
    mesh.clock.run(10.0)
    assert [len(node.reports) for node in mesh.nodes.values()] == [1, 1]


def test_the_first_byte_comes_by_relay_while_a_path_is_looked_for() -> None:
    mesh = talking(pair(1, EASY, EASY))
    assert mesh.clock.run_until(lambda: mesh.nodes["b"].delivered["a"] > 0, limit=0.2)


@pytest.mark.parametrize("opener", ["a", "b"])
def test_one_open_port_makes_two_hard_nats_direct_with_a_single_relay(opener: str) -> None:
    mesh = SimMesh(1)
    mesh.node("a", HARD, forward=True)
    mesh.node("b", HARD)
    mesh.clock.run(SETTLED)
    mesh.talk(opener, "b" if opener == "a" else "a")
    assert mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit=1.0)


def test_two_stateful_firewalls_on_ipv6_are_passed() -> None:
    mesh = SimMesh(1)
    mesh.node("a", HARD, v6=True, stateful_firewall=True)
    mesh.node("b", HARD, v6=True, stateful_firewall=True)
    mesh.clock.run(SETTLED)
    talking(mesh)
    assert mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit=0.5)
    status = mesh.nodes["a"].mesh.peer_status(mesh.nodes["b"].public, mesh.clock.now)
    assert status is not None
    assert status.cur_addr is not None
    assert not status.cur_addr.is_v4


@pytest.mark.parametrize("seed", range(100))
def test_a_twentieth_of_all_packets_lost_does_not_keep_two_easy_nats_apart(seed: int) -> None:
    mesh = talking(pair(seed, EASY, EASY, loss=0.05))
    assert mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit=10.0), f"seed {seed}"


def test_loss_costs_little_time_in_most_runs() -> None:
    times = []
    for seed in range(100):
        mesh = talking(pair(seed, EASY, EASY, loss=0.05))
        began = mesh.clock.now
        mesh.clock.run_until(lambda mesh=mesh: mesh.both_direct("a", "b"), limit=10.0)
        times.append(mesh.clock.now - began)
    assert median(times) <= 0.3
    assert quantiles(times, n=20)[-1] <= 3.0


def test_a_ping_of_people_finds_the_direct_path_too() -> None:
    mesh = pair(1, EASY, EASY)
    mesh.ping("a", "b")
    assert mesh.clock.run_until(lambda: bool(mesh.nodes["a"].pings), limit=1.0)
    first = mesh.nodes["a"].pings[0]
    assert isinstance(first, PingAnswered)
    assert mesh.clock.run_until(lambda: mesh.direct("a", "b"), limit=1.0)
    mesh.ping("a", "b", request=2)
    mesh.clock.run(0.1)
    second = mesh.nodes["a"].pings[1]
    assert isinstance(second, PingAnswered)
    assert second.endpoint is not None


def test_a_restarted_peer_is_reached_again_at_once() -> None:
    mesh = talking(pair(1, EASY, EASY))
    mesh.clock.run(20.0)
    mesh.restart("b")
    restarted = mesh.clock.now
    assert mesh.clock.run_until(lambda: mesh.nodes["a"].last_delivery.get("b", 0.0) > restarted, limit=1.5)
    assert mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit=3.0)


@pytest.mark.parametrize("talker", ["a", "b"])
@pytest.mark.parametrize("nat", [None, EASY, HARD], ids=str)
@pytest.mark.parametrize("seed", range(5))
def test_a_peer_that_restarts_right_after_a_handshake_is_reached_by_whoever_talks(
    seed: int, nat: NatKind | None, talker: str
) -> None:
    mesh = pair(seed, nat, nat)
    mesh.clock.run(2.0)
    listener = mesh.nodes["b" if talker == "a" else "a"]
    mesh.talk(talker, listener.name, one_way=True)
    mesh.clock.run(1.0 + seed)
    mesh.restart("b")
    restarted = mesh.clock.now
    heard = mesh.nodes[listener.name].last_delivery
    assert mesh.clock.run_until(lambda: heard.get(talker, 0.0) > restarted + 0.5, limit=2.0), f"seed {seed}"


@pytest.mark.parametrize("seed", range(20))
def test_a_path_that_dies_under_traffic_is_left_for_the_relay(seed: int) -> None:
    mesh = talking(pair(seed, EASY, EASY))
    mesh.clock.run(20.0 + seed * 0.137)
    assert mesh.both_direct("a", "b")
    mesh.network.loss = 1.0
    died = mesh.clock.now
    a, b = mesh.nodes["a"], mesh.nodes["b"]
    assert mesh.clock.run_until(lambda: a.last_delivery["b"] > died + 0.3, limit=4.0), f"seed {seed}"
    mesh.clock.run(1.0)
    before = a.delivered["b"]
    mesh.clock.run(10.0)
    assert a.delivered["b"] - before > 95
    mesh.network.loss = 0.0
    assert mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit=3.0), f"seed {seed}"
    assert b.delivered["a"] > 0


def test_a_dead_path_costs_little_more_than_a_second_in_most_runs() -> None:
    times = []
    for seed in range(40):
        mesh = talking(pair(seed, EASY, EASY))
        mesh.clock.run(20.0 + seed * 0.137)
        mesh.network.loss = 1.0
        died = mesh.clock.now
        a = mesh.nodes["a"]
        mesh.clock.run_until(lambda a=a, died=died: a.last_delivery["b"] > died + 0.3, limit=10.0)
        times.append(mesh.clock.now - died)
    assert median(times) <= 1.5
    assert max(times) <= 4.0


def test_a_nat_that_forgets_its_mappings_is_passed_again() -> None:
    mesh = talking(pair(1, EASY, EASY))
    mesh.clock.run(20.0)
    box = mesh.nodes["b"].host.nat
    assert box is not None
    box.reboot()
    began = mesh.clock.now
    mesh.clock.run(7.0)
    before = mesh.nodes["a"].delivered["b"]
    mesh.clock.run(5.0)
    assert mesh.nodes["a"].delivered["b"] - before > 45
    assert mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit=10.0 - (mesh.clock.now - began) + 5.0)


@pytest.mark.parametrize(("kinds", "limit"), [((EASY, EASY), 50), ((HARD, HARD), 240), ((UDP_BLOCKED, EASY), 240)])
def test_no_pair_storms_with_probes(kinds: tuple[NatKind, NatKind], limit: int) -> None:
    mesh = talking(pair(1, *kinds))
    mesh.clock.run(10.0)
    for name in ("a", "b"):
        assert probes_per_minute(mesh, name, 120.0) <= limit


def test_a_silent_pair_costs_no_packet() -> None:
    mesh = pair(1, EASY, EASY)
    mesh.talk("a", "b", for_seconds=5.0)
    mesh.clock.run(120.0)
    before, digest = mesh.network.counts["sent"], mesh.watch.digest
    mesh.clock.run(600.0)
    assert mesh.network.counts["sent"] == before
    assert mesh.watch.digest == digest
    mesh.talk("a", "b", for_seconds=5.0)
    assert mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit=0.5)


def test_nodes_move_to_another_region_when_the_relay_of_their_home_dies() -> None:
    mesh = SimMesh(1, regions=2)
    mesh.node("a", HARD)
    mesh.node("b", HARD)
    mesh.clock.run(SETTLED)
    talking(mesh)
    mesh.clock.run(10.0)
    home = mesh.nodes["a"].mesh.status(mesh.clock.now).home
    mesh.kill_region(home)
    assert mesh.clock.run_until(
        lambda: all(n.mesh.status(mesh.clock.now).home not in (0, home) for n in mesh.nodes.values()), limit=15.0
    )
    before = mesh.nodes["a"].delivered["b"]
    mesh.clock.run(5.0)
    assert mesh.nodes["a"].delivered["b"] - before > 30


def test_a_relay_that_restarts_is_connected_to_anew_and_no_packet_is_lost() -> None:
    mesh = SimMesh(1)
    for name in ("a", "b"):
        mesh.node(name, UDP_BLOCKED)
    mesh.clock.run(SETTLED)
    talk = mesh.talk("a", "b")
    mesh.clock.run(5.0)
    home = mesh.nodes["a"].mesh.status(mesh.clock.now).home
    came_up: list[RegionId] = []
    went_up = mesh.nodes["a"].mesh.relay_up

    def noted(region: RegionId, now: Instant) -> list[Action]:
        came_up.append(region)
        return went_up(region, now)

    mesh.nodes["a"].mesh.relay_up = noted  # type: ignore[method-assign]
    before = talk.asked - talk.answered
    mesh.region_restarts(home)
    mesh.clock.run(5.0)
    assert came_up == [home]
    assert talk.asked - talk.answered <= before


def test_peers_with_different_homes_meet() -> None:
    mesh = SimMesh(3, regions=3)
    for name in ("a", "b"):
        mesh.node(name, HARD)
    mesh.clock.run(SETTLED)
    mesh.talk("a", "b")
    mesh.clock.run(5.0)
    assert mesh.nodes["a"].delivered["b"] > 40


def test_a_node_that_moves_to_another_network_is_direct_again_soon() -> None:
    mesh = talking(pair(1, EASY, EASY))
    mesh.clock.run(20.0)
    mesh.move("b", FULL_CONE)
    moved = mesh.clock.now
    assert mesh.clock.run_until(lambda: mesh.nodes["a"].last_delivery["b"] > moved + 0.1, limit=2.0)
    assert mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit=5.0)


KINDS = [None, EASY, EASY_ADDRESS, FULL_CONE, HARD, UDP_BLOCKED]


def can_be_direct(a: NatKind | None, b: NatKind | None) -> bool:
    """By reasoning: one side can be aimed at."""
    return UDP_BLOCKED not in (a, b) and (a, b) != (HARD, HARD)


@pytest.mark.parametrize("seed", range(150))
def test_any_pair_in_any_weather_ends_as_reasoned(seed: int) -> None:
    random = Random(seed)
    a, b = random.choice(KINDS), random.choice(KINDS)
    mesh = SimMesh(
        seed,
        regions=random.choice([1, 2, 3]),
        loss=random.choice([0.0, 0.01, 0.05, 0.1]),
        jitter=random.choice([0.0, 0.01, 0.05]),
    )
    mesh.node("a", a, port=random.choice([0, 41641]))
    mesh.node("b", b, port=random.choice([0, 41641]))
    mesh.clock.run(random.choice([0.5, 2.0, 6.0]))
    talking(mesh)
    direct = mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit=SEARCHES_WITHIN)
    assert direct is can_be_direct(a, b), f"seed {seed}"
    mesh.clock.run(20.0)
    assert mesh.nodes["a"].delivered["b"] > 100


def test_one_seed_gives_one_run() -> None:
    def run(seed: int) -> list[str]:
        mesh = talking(pair(seed, EASY, HARD, loss=0.1, trace=True))
        mesh.clock.run(60.0)
        assert mesh.watch.trace
        return mesh.watch.trace

    assert run(5) == run(5)
    assert run(5) != run(6)


def test_twenty_nodes_behind_many_nats_all_meet() -> None:
    mesh = SimMesh(2)
    names = [f"n{number}" for number in range(20)]
    for number, name in enumerate(names):
        mesh.node(name, (None, EASY, EASY_ADDRESS, FULL_CONE)[number % 4])
    mesh.clock.run(SETTLED)
    pairs = [(a, b) for number, a in enumerate(names) for b in names[number + 1 :]]
    for a, b in pairs:
        mesh.talk(a, b, every=1.0)
    mesh.clock.run(5.0)
    assert [p for p in pairs if not mesh.both_direct(*p)] == []


@pytest.mark.parametrize("seed", range(10))
def test_two_questions_now_and_then_leave_a_good_path_in_use(seed: int) -> None:
    """Of two answers within half a second the pump tells the first alone."""
    mesh = pair(seed, EASY, EASY, jitter=0.01)
    for _ in range(6):
        for gap in (0.5, 1.0):
            mesh.send("a", "b", b"question")
            mesh.clock.run(gap)
        for one, other in (("a", "b"), ("b", "a")):
            endpoint, _ = mesh.nodes[one].pump.steered(mesh.nodes[other].public)
            assert endpoint is not None
        mesh.clock.run(15.0)
