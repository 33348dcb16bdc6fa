"""`ginnel doctor` in real networks: the peer's own word through the tunnel and by way of the server, and the fix."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from ginnel.lab.instance import Lab
from ginnel.lab.members import ginnel
from ginnel.lab.mesh import Mesh
from ginnel.lab.processes import until
from ginnel.lab.scenario import Expect, Member, Scenario

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces")]

ALICE, BOB = "alice", "bob"
LIMIT = 60.0
MEETS_WITHIN = 45.0  # a dial of a relay that says nothing takes 10 s, and asks anew when it fails
GUARD = (
    "add rule inet lab input iifname eth0 ct state established,related accept\n"
    "add rule inet lab input iifname eth0 udp dport 41641 drop\n"
)


@contextmanager
def standing(kinds: tuple[str, str], relays: tuple[str, ...] = ()) -> Iterator[tuple[Lab, Mesh]]:
    members = (Member(ALICE, kinds[0]), Member(BOB, kinds[1]))
    scenario = Scenario("doctor", "", members, (Expect(ALICE, BOB, "relay"),), relays=relays)
    with Lab(scenario.topology()) as lab:
        mesh = Mesh(lab, scenario, lambda _: None)
        mesh.start()
        until(lambda: (mesh.ours[ALICE].status() or {}).get("Peer") or None, LIMIT, "alice to see bob")
        yield lab, mesh


def examined(lab: Lab, host: str, *words: str) -> dict[str, Any]:
    """The diagnosis; its exit status must agree."""
    asked = ginnel(lab, host, "doctor", "doctor", *words, "--json")
    status = asked.wait(LIMIT)
    said: dict[str, Any] = json.loads(asked.said_now())
    assert status == (0 if said["verdict"] == "healthy" else 1), asked.last_words()
    return said


def causes(said: dict[str, Any]) -> list[str]:
    return [cause["cause"] for cause in said["causes"]]


def test_homes_are_healthy_alone_and_together() -> None:
    with standing(("easy", "easy")) as (lab, _):
        assert examined(lab, ALICE) == {"verdict": "healthy", "causes": []}
        said = examined(lab, ALICE, BOB)
        assert (said["verdict"], said["path"]) == ("healthy", "direct")


def test_of_two_hard_nats_the_guarded_machine_is_named_and_its_rule_is_what_stands_in_the_way() -> None:
    with standing(("hard-random", "hard-random+open-port")) as (lab, mesh):
        lab.spaces[BOB].run(["nft", "-f", "-"], GUARD)
        for host, peer in ((ALICE, BOB), (BOB, ALICE)):
            said = examined(lab, host, peer)
            assert said["verdict"] == "degraded"
            assert causes(said)[:2] == ["peer-host-firewall" if host == ALICE else "host-firewall", "hard-nat-both"]
            assert said["causes"][0]["fix"]["where"] == BOB
        lab.spaces[BOB].run(["nft", "insert", "rule", "inet", "lab", "input", "udp", "dport", "41641", "accept"])
        until(lambda: opened(lab, mesh) or None, 10.0, "the pair to be direct")


def opened(lab: Lab, mesh: Mesh) -> bool:
    ginnel(lab, ALICE, "ping", "ping", "--timeout", "1s", "-c", "1", mesh.nodes[BOB].address).wait(LIMIT)
    return mesh.ours[ALICE].way_to(mesh.nodes[BOB].address).path == "direct"


def test_a_relay_out_of_reach_is_named_and_the_peer_says_so_by_way_of_the_server() -> None:
    """No packet passes between the two: alice cannot be where bob listens."""
    with standing(("udp-blocked", "easy"), relays=("relay1",)) as (lab, _):
        lab.block("nat-alice", f"ip daddr {lab.addresses['relay1']} tcp dport 443 drop")
        said = examined(lab, ALICE, BOB)
        assert (said["verdict"], said["path"]) == ("broken", "none")
        blocked = said["causes"][0]
        assert (blocked["cause"], blocked["about"]) == ("relay-blocked", "region lab (node 910a)")
        assert "bob is connected to it, so it is not down" in blocked["evidence"]


def test_two_that_never_talked_meet_though_one_does_not_reach_the_relay_of_the_other() -> None:
    """No call-me-maybe gets there: the server carries the call."""
    with standing(("easy", "easy"), relays=("relay1",)) as (lab, mesh):
        lab.block("nat-alice", f"ip daddr {lab.addresses['relay1']} tcp dport 443 drop")
        until(lambda: opened(lab, mesh) or None, MEETS_WITHIN, "the pair to be direct")


def test_without_a_daemon_the_state_tells_whom_to_try() -> None:
    with standing(("easy", "easy")) as (lab, mesh):
        daemon = mesh.ours[ALICE].daemon
        assert daemon is not None
        daemon.stop()
        said = examined(lab, ALICE, "--state", lab.inside_path("state"))
        assert (said["verdict"], causes(said)) == ("broken", ["daemon-down"])
