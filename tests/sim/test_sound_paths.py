"""Paths that are sound, and must not be left or doubted for what happens around them; and what a search may cost where
there is no path to find."""

from __future__ import annotations

import pytest

from ginnel.testing.mesh import SimMesh
from ginnel.testing.nat import EASY, FULL_CONE, HARD, HARD_SEQUENTIAL, STUN_ONLY, UDP_BLOCKED, NatKind


def seconds_relayed(mesh: SimMesh, seconds: int) -> int:
    """At how many of them the first node has no direct way to the second one."""
    relayed = 0
    for _ in range(seconds):
        mesh.clock.run(1.0)
        endpoint, _ = mesh.nodes["a"].pump.steered(mesh.nodes["b"].public)
        relayed += endpoint is None
    return relayed


def by_relay(mesh: SimMesh) -> int:
    """Packets of the tunnel so far, of both nodes."""
    return sum(mesh.nodes[name].pump.counts["relay"] for name in "ab")


@pytest.mark.parametrize("relay_leg", [0.005, 0.02])
@pytest.mark.parametrize("every", [0.5, 1.0])
def test_a_relay_that_is_faster_than_the_direct_path_does_not_speak_against_it(every: float, relay_leg: float) -> None:
    relayed = 0
    for seed in range(6):
        mesh = SimMesh(seed, latency=0.08, relay_leg=relay_leg, loss=0.1)
        mesh.node("a", EASY)
        mesh.node("b", EASY)
        mesh.clock.run(4.0)
        mesh.talk("a", "b", every=every)
        mesh.clock.run(10.0)
        relayed += seconds_relayed(mesh, 120)
    assert relayed <= 10


@pytest.mark.parametrize("loss", [0.01, 0.05])
@pytest.mark.parametrize("every", [0.5, 1.0])
def test_a_lost_keepalive_does_not_end_a_direct_path_for_who_only_sends(every: float, loss: float) -> None:
    relayed = 0
    for seed in range(4):
        mesh = SimMesh(seed, loss=loss)
        mesh.node("a", EASY)
        mesh.node("b", EASY)
        mesh.clock.run(4.0)
        mesh.talk("a", "b", one_way=True, every=every)
        mesh.clock.run(10.0)
        relayed += seconds_relayed(mesh, 200)
    assert relayed <= 8


@pytest.mark.parametrize("kind", [None, FULL_CONE, EASY, HARD])
def test_two_ways_that_differ_need_no_relay(kind: NatKind | None) -> None:
    """Of a hard NAT with an open port: it is sent to there, and sends from another one."""
    for seed in range(8):
        mesh = SimMesh(seed)
        mesh.node("a", HARD, forward=True)
        mesh.node("b", kind)
        mesh.clock.run(4.0)
        mesh.talk("a", "b", every=0.5)
        mesh.clock.run(10.0)
        assert mesh.both_direct("a", "b")
        before = by_relay(mesh)
        mesh.clock.run(60.0)
        assert by_relay(mesh) == before, f"seed {seed}"


@pytest.mark.parametrize("kind", [EASY, HARD, HARD_SEQUENTIAL, UDP_BLOCKED, STUN_ONLY])
def test_a_peer_that_can_never_be_direct_costs_less_than_a_probe_a_second(kind: NatKind) -> None:
    mesh = SimMesh(1, regions=3)
    mesh.node("a", HARD)
    mesh.node("b", kind)
    mesh.clock.run(4.0)
    mesh.talk("a", "b", every=0.5)
    mesh.clock.run(120.0)
    before = dict(mesh.watch.probes)
    mesh.clock.run(120.0)
    for name in "ab":
        probes = sum(count - before.get(way, 0) for way, count in mesh.watch.probes.items() if way[0] == name)
        assert probes / 2 <= 60, name


def test_a_router_that_maps_anew_under_a_one_way_flow_ends_no_path() -> None:
    """The listener's keepalives and answers go to the old mapping until it has learnt of the new one."""
    for seed in range(20):
        mesh = SimMesh(seed)
        mesh.node("a", HARD)
        mesh.node("b", FULL_CONE)
        mesh.clock.run(4.0)
        mesh.talk("a", "b", every=0.5, one_way=True)
        mesh.clock.run(15.0 + 0.7 * seed)
        mesh.reboot_nat("a")
        assert seconds_relayed(mesh, 40) == 0, f"seed {seed}"


def test_a_router_that_forgets_is_not_taken_for_one_that_carries_no_data() -> None:
    late = []
    for seed in (17, 18, 19, 20):
        mesh = SimMesh(seed)
        mesh.node("a", HARD_SEQUENTIAL)
        mesh.node("b", HARD_SEQUENTIAL)
        mesh.clock.run(2.0)
        mesh.talk("a", "b", one_way=True, every=2.0)
        mesh.clock.run(20.0 + seed * 0.37)
        mesh.reboot_nat("a")
        mesh.clock.run(8.0)
        if not mesh.clock.run_until(lambda mesh=mesh: mesh.direct("a", "b"), 30.0):
            late.append(seed)
    assert late == []
