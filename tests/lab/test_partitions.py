"""One relay is blocked before one machine: the server names the region, the machine and the pair.

alice -- easy NAT --+-- internet --+-- server (region 900)
bob   -- easy NAT --+              +-- relay1 (region 910, favoured: everybody's home)
         ^ drops what goes to relay1
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ginnel.lab.instance import Lab
from ginnel.lab.members import GinnelNode
from ginnel.lab.mesh import Mesh
from ginnel.lab.processes import until
from ginnel.lab.relay_hosts import OWN_REGION, RELAY_REGION
from ginnel.lab.scenario import Expect, Member, Scenario

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces")]

SCENARIO = Scenario(
    "relay-blocked", "a firewall before one of two blocks one relay", (Member("alice", "easy"), Member("bob", "easy")),
    (Expect("alice", "bob", "relay"),), relays=("relay1",),
)  # fmt: skip
NOTICED = 45.0  # seconds
BACK = 90.0


@contextmanager
def meeting() -> Iterator[Mesh]:
    """The server, its relay, and alice at home there."""
    with Lab(SCENARIO.topology()) as lab:
        mesh = Mesh(lab, SCENARIO, lambda _: None)
        mesh.server.start()
        mesh.relays.start()
        join(mesh, "alice")
        until(lambda: homes(mesh).get("alice") == RELAY_REGION or None, 60.0, "alice's home")
        yield mesh


def join(mesh: Mesh, name: str) -> None:
    mesh.start_ours(GinnelNode(mesh.lab, name))


def homes(mesh: Mesh) -> dict[str, int]:
    listed = json.loads(mesh.server.ask("nodes", "nodes", "list", "--json"))
    return {node["given_name"]: node["home_region"] for node in listed}


def partitions(mesh: Mesh) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(mesh.server.ask("partitions", "nodes", "partitions", "--json"))
    return found


def block(mesh: Mesh, verdict: str) -> None:
    mesh.lab.block(mesh.lab.topology.edge("bob"), f"ip daddr {mesh.lab.addresses['relay1']} {verdict}")


def noticed(mesh: Mesh) -> dict[str, Any]:
    (found,) = until(lambda: [p for p in partitions(mesh) if p["pairs"]] or None, NOTICED, "the partition")
    return found


def is_bobs(found: dict[str, Any]) -> None:
    assert (found["region"], found["region_code"], found["pairs"]) == (RELAY_REGION, "lab", 1)
    assert [(node["name"], node["evidence"]) for node in found["nodes"]] == [("bob", "its own word")]
    assert found["examples"] == [{"from": "bob", "to": "alice", "both_ways": False}]


def test_a_blocked_relay_is_named_with_the_pair_and_forgotten_when_it_is_let_through() -> None:
    """No traffic is needed for it: what a check did not hear is asked for by HTTPS."""
    with meeting() as mesh:
        assert partitions(mesh) == []
        block(mesh, "drop")
        join(mesh, "bob")
        is_bobs(noticed(mesh))
        assert homes(mesh)["bob"] == OWN_REGION
        assert "bob --x-> alice" in mesh.server.ask("words", "nodes", "partitions")
        mesh.lab.unblock(mesh.lab.topology.edge("bob"))
        until(lambda: partitions(mesh) == [] or None, BACK, "the partition to end")


def test_a_relay_whose_stun_answers_and_whose_port_443_is_refused_is_found_all_the_same() -> None:
    with meeting() as mesh:
        block(mesh, "tcp dport 443 reject with tcp reset")
        join(mesh, "bob")
        is_bobs(noticed(mesh))
