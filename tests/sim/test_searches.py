"""Searches for a way through NATs, in whole meshes: how long they take, what they leave behind, when they stop."""

from __future__ import annotations

from math import exp
from statistics import median

import pytest

from ginnel.testing.mesh import SimMesh
from ginnel.testing.nat import EASY, EASY_BARE, HARD, HARD_SEQUENTIAL, NatKind
from ginnel.testing.node import SimNode
from ginnel.testing.oracle_search import ATTEMPTS_WITHIN, SEARCHES_WITHIN
from ginnel.words import Endpoint

SETTLED = 2.0
BEGINS = 1.8


class Packets:
    """What leaves side sockets: (time, node, where to)."""

    def __init__(self, mesh: SimMesh) -> None:
        self.sent: list[tuple[float, str, Endpoint]] = []
        sends = mesh.watch.sides.sends

        def counted(node: SimNode, number: int, to: Endpoint, packet: bytes) -> bool:
            of_search = sends(node, number, to, packet)
            if of_search:
                self.sent.append((mesh.clock.now, node.name, to))
            return of_search

        mesh.watch.sides.sends = counted  # type: ignore[method-assign]


def searching(seed: int, a: NatKind = EASY, b: NatKind = HARD, **options: float) -> SimMesh:
    """A pair that talks ten times a second, from now on."""
    mesh = SimMesh(seed, **options)  # type: ignore[arg-type]
    mesh.node("a", a)
    mesh.node("b", b)
    mesh.clock.run(SETTLED)
    mesh.talk("a", "b")
    return mesh


def found(mesh: SimMesh, limit: float, seed: int = 0) -> float:
    began = mesh.clock.now
    assert mesh.clock.run_until(lambda: mesh.both_direct("a", "b"), limit), f"seed {seed}: not within {limit} s"
    return mesh.clock.now - began


def sides(mesh: SimMesh) -> list[int]:
    return [len(node.sides) for node in mesh.nodes.values()]


@pytest.mark.parametrize("easy", [EASY, EASY_BARE], ids=lambda kind: kind.name)
def test_a_birthday_search_meets_as_soon_as_the_birthday_paradox_says(easy: NatKind) -> None:
    """After t seconds of a search 1 - exp(-(0.5 + 0.4 (t - 2.6))) have met."""
    times = sorted(found(searching(seed, easy, HARD), SEARCHES_WITHIN, seed) - BEGINS for seed in range(40))
    for seconds in (5.0, 8.0, 12.0):
        expected = 1.0 - exp(-(0.5 + 0.4 * (seconds - 0.4 - 2.6)))
        share = sum(time <= seconds for time in times) / len(times)
        assert abs(share - expected) < 0.2, f"{share} within {seconds} s, not {expected}"


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (EASY_BARE, EASY_BARE),
        (EASY_BARE, EASY),
        (EASY, HARD_SEQUENTIAL),
        (HARD_SEQUENTIAL, EASY_BARE),
        (HARD_SEQUENTIAL, HARD_SEQUENTIAL),
    ],
    ids=lambda kind: kind.name,
)
def test_fresh_sockets_and_prediction_need_one_attempt(a: NatKind, b: NatKind) -> None:
    times = [found(searching(seed, a, b), ATTEMPTS_WITHIN, seed) for seed in range(20)]
    assert median(times) <= 2.6
    assert max(times) <= 6.0


@pytest.mark.parametrize("kinds", [(EASY, HARD), (HARD_SEQUENTIAL, HARD_SEQUENTIAL)], ids=lambda pair: pair[1].name)
def test_behind_a_carrier_it_takes_openers_that_go_further(kinds: tuple[NatKind, NatKind]) -> None:
    for seed in range(10):
        mesh = SimMesh(seed)
        mesh.node("a", kinds[0], behind=mesh.nat(EASY))
        mesh.node("b", kinds[1], behind=mesh.nat(EASY))
        mesh.clock.run(SETTLED)
        mesh.talk("a", "b")
        found(mesh, SEARCHES_WITHIN, seed)


def test_what_was_found_is_kept_alone_and_with_an_idle_pair_not_even_that() -> None:
    mesh = searching(3)
    found(mesh, SEARCHES_WITHIN)
    assert max(sides(mesh)) > 200
    mesh.clock.run(25.0)
    assert sides(mesh) == [1, 1]
    mesh.conversations[0].stop()
    mesh.clock.run(300.0)
    assert sides(mesh) == [0, 0]


@pytest.mark.parametrize("kinds", [(EASY, HARD), (EASY_BARE, EASY_BARE), (EASY, HARD_SEQUENTIAL)], ids=str)
def test_a_router_that_forgets_is_searched_through_again(kinds: tuple[NatKind, NatKind]) -> None:
    times = []
    for seed in range(10):
        mesh = searching(seed, *kinds)
        found(mesh, SEARCHES_WITHIN, seed)
        mesh.clock.run(20.0)
        mesh.reboot_nat("b")
        mesh.clock.run_until(lambda mesh=mesh: not mesh.both_direct("a", "b"), 8.0)
        times.append(found(mesh, SEARCHES_WITHIN, seed))
    assert median(times) <= 8.0


@pytest.mark.parametrize("who", ["a", "b"])
@pytest.mark.parametrize("why", ["forbid_probing", "metered"])
def test_a_search_ends_at_once_when_it_is_forbidden(why: str, who: str) -> None:
    mesh = searching(3)
    packets = Packets(mesh)
    mesh.clock.run_until(lambda: len(packets.sent) > 20, 5.0)
    mesh.forbid_probing(who) if why == "forbid_probing" else mesh.metered(who, True)
    mesh.clock.run(0.05)
    before = len([sent for sent in packets.sent if sent[1] == who])
    mesh.clock.run(60.0)
    assert len([sent for sent in packets.sent if sent[1] == who]) == before > 0
    assert not mesh.both_direct("a", "b")
    assert sides(mesh) == [0, 0]


@pytest.mark.parametrize("who", ["a", "b"])
def test_a_peer_that_leaves_is_not_searched_for(who: str) -> None:
    mesh = searching(3)
    packets = Packets(mesh)
    mesh.clock.run_until(lambda: len(packets.sent) > 20, 5.0)
    mesh.leave(who)
    mesh.clock.run(0.2)
    before = len(packets.sent)
    mesh.clock.run(60.0)
    assert len(packets.sent) == before > 0
    assert len(mesh.nodes["b" if who == "a" else "a"].sides) == 0


def test_a_peer_that_is_switched_off_costs_two_searches_at_most() -> None:
    mesh = searching(3)
    packets = Packets(mesh)
    mesh.clock.run_until(lambda: len(packets.sent) > 20, 5.0)
    mesh.nodes["b"].host.asleep = True
    mesh.clock.run(280.0)
    assert len([sent for sent in packets.sent if sent[1] == "a"]) <= 2 * 2000
    assert packets.sent[-1][0] < mesh.clock.now - 200.0
    assert len(mesh.nodes["a"].sides) == 0


def test_a_peer_of_another_kind_is_left_alone() -> None:
    mesh = SimMesh(1)
    mesh.node("a", EASY)
    mesh.node("b", HARD, punches=False)
    packets = Packets(mesh)
    mesh.clock.run(SETTLED)
    mesh.talk("a", "b")
    mesh.clock.run(60.0)
    assert packets.sent == []
    assert not mesh.direct("a", "b")
