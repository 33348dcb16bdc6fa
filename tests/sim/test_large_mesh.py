"""Two hundred nodes in one simulation."""

from __future__ import annotations

from random import Random

from ginnel.testing.memory import held
from ginnel.testing.mesh import SimMesh
from ginnel.testing.nat import EASY, EASY_ADDRESS, FULL_CONE, HARD, HARD_SEQUENTIAL, UDP_BLOCKED
from ginnel.testing.oracle import Verdict, verdict

NODES, TALKS = 200, 120
KINDS = [None, EASY, EASY, EASY_ADDRESS, FULL_CONE, HARD, HARD_SEQUENTIAL, UDP_BLOCKED]


def test_two_hundred_nodes_behind_all_kinds_of_nats_find_each_other_as_reasoned() -> None:
    random = Random(200)
    mesh = SimMesh(200, regions=3, loss=0.005)
    for number in range(NODES):
        mesh.node(f"n{number}", random.choice(KINDS), place=random.choice((0.0, 0.01, 0.03)))
    mesh.clock.run(8.0)
    pairs = [random.sample(sorted(mesh.nodes), 2) for _ in range(TALKS)]
    talks = [mesh.talk(a, b, every=1.0, for_seconds=15.0, expect=True) for a, b in pairs]
    mesh.clock.run(20.0)
    for talk in talks:
        if verdict(talk.a.host, talk.b.host) is Verdict.DIRECT:
            assert talk.direct_after is not None, f"{talk.a.name} and {talk.b.name}"
        assert talk.answered >= 10
    assert all(held(node.mesh) < 300 * NODES for node in list(mesh.nodes.values())[:5])
