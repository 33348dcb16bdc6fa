"""Faults on a bare network, so that what nodes make of them can be trusted; and two nodes that talk through two."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from ginnel.lab.catalogue import ALICE, BOB, scenario_named
from ginnel.lab.echo import Echo
from ginnel.lab.faults import Faults, spare
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import NODE_PORT, SERVER, network
from ginnel.lab.mesh import Mesh
from ginnel.lab.processes import until
from ginnel.lab.topology import OBSERVER, Topology

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
GENEROUS = 20.0
SILENCE = 0.3


@pytest.fixture
def lab() -> Iterator[Lab]:
    built = network(a="easy", b="none")
    with Lab(Topology((*built.routers, spare("spare")), built.hosts)) as lab:
        yield lab


def echo(lab: Lab, near: str, far: str) -> Echo:
    """Between outside addresses: `near` asks from wherever it is."""
    return Echo(lab.spaces[near], "0.0.0.0", lab.spaces[far], lab.addresses[far])


def flows(one: Echo, limit: float = GENEROUS) -> bool:
    return one.flows(time.monotonic(), limit) is not None


def seen_as(lab: Lab, host: str, by: int) -> tuple[str, int]:
    """The address and port that one of the observer's addresses sees when the node's port speaks."""
    with ExitStack() as opened:
        there = opened.enter_context(lab.spaces[OBSERVER].socket(socket.SOCK_DGRAM, (lab.plan.observer[by], 3478)))
        here = opened.enter_context(lab.spaces[host].socket(socket.SOCK_DGRAM, ("0.0.0.0", NODE_PORT)))
        there.settimeout(GENEROUS)
        here.sendto(b"where am I?", there.getsockname())
        address, port = there.recvfrom(64)[1]
        return address, port


def test_a_black_hole_is_between_two_sites_alone_and_ends(lab: Lab) -> None:
    faults = Faults(lab)
    with echo(lab, "a", "b") as peer, echo(lab, "a", SERVER) as server:
        assert flows(peer)
        faults.black_hole("a", "b")
        began = time.monotonic()
        assert peer.flows(began, SILENCE) is None
        assert flows(server)
        assert peer.lost(began, began + SILENCE / 2) > 0
        faults.end_black_holes()
        assert flows(peer)


@pytest.mark.parametrize("host", ["a", "b"])
def test_blocked_udp_is_blocked_to_everybody(lab: Lab, host: str) -> None:
    faults = Faults(lab)
    with echo(lab, host, SERVER) as server:
        assert flows(server)
        faults.block_udp(host)
        assert not flows(server, SILENCE)
        faults.unblock_udp(host)
        assert flows(server)


def test_a_rebound_nat_has_another_port_the_same_for_everybody(lab: Lab) -> None:
    faults = Faults(lab)
    assert seen_as(lab, "a", 0) == seen_as(lab, "a", 1) == (lab.addresses["nat-a"], NODE_PORT)
    ports = [NODE_PORT]
    for _ in range(2):
        ports.append(faults.rebind("a"))
        assert seen_as(lab, "a", 0) == seen_as(lab, "a", 1) == (lab.addresses["nat-a"], ports[-1])
    assert len(set(ports)) == 3


def test_a_new_lease_is_another_address_that_works(lab: Lab) -> None:
    faults = Faults(lab)
    with echo(lab, "a", SERVER) as server:
        assert flows(server)
        address = faults.renumber("a")
        assert address != lab.addresses["a"]
        assert address in lab.spaces["a"].run(["ip", "-4", "address"])
        assert f"{lab.addresses['a']}/" not in lab.spaces["a"].run(["ip", "-4", "address"])
        assert flows(server)


def test_a_host_moves_behind_another_router_and_home_again(lab: Lab) -> None:
    faults = Faults(lab)
    faults.plug_in("a", "spare")
    for router in ("spare", "nat-a", "spare"):
        faults.move("a", router)
        assert seen_as(lab, "a", 0)[0] == lab.addresses[router]


def test_a_cable_that_is_out_carries_nothing_until_it_is_in_again(lab: Lab) -> None:
    faults = Faults(lab)
    with echo(lab, "a", SERVER) as server:
        assert flows(server)
        faults.link_down("a")
        assert not flows(server, SILENCE)
        faults.link_up("a")
        assert flows(server)


def test_an_echo_heeds_no_strangers(lab: Lab) -> None:
    with echo(lab, "a", SERVER) as one:
        assert flows(one)
        for packet in (b"", bytes(16), b"echoecho" + bytes(8), b"echoecho" + b"\xff" * 8):
            assert (one.probe_of(packet) is None) == (packet != b"echoecho" + bytes(8))


def test_two_nodes_talk_on_through_a_black_hole_and_a_move() -> None:
    """20 ms links, home routers; the limits are the worst that may be, not what is usual."""
    scenario = scenario_named("easy-easy-20ms")
    built = scenario.topology()
    topology = Topology((*built.routers, spare("spare")), built.hosts)
    with Lab(topology, scenario.lengths()) as lab:
        faults = Faults(lab)
        faults.plug_in(ALICE, "spare")
        mesh = Mesh(lab, scenario, lambda line: None)
        mesh.start()
        mesh.wait_for_route(ALICE, BOB)
        mesh.wait_for_route(BOB, ALICE)
        alice, bob = mesh.ours[ALICE], mesh.ours[BOB]

        def direct() -> bool | None:
            return {alice.way_to(bob.address).path, bob.way_to(alice.address).path} == {"direct"} or None

        def at_spare() -> bool | None:
            return bob.way_to(alice.address).endpoint.startswith(f"{lab.addresses['spare']}:") or None

        with Echo(lab.spaces[ALICE], alice.address, lab.spaces[BOB], bob.address) as talk:
            until(direct, GENEROUS, "both ends to be direct")
            faults.black_hole(ALICE, BOB)
            took = talk.flows(time.monotonic(), GENEROUS)
            assert took is not None
            assert took < 4.0
            faults.end_black_holes()
            until(direct, GENEROUS, "both ends to be direct again")
            faults.move(ALICE, "spare")
            took = talk.flows(time.monotonic(), GENEROUS)
            assert took is not None
            assert took < 5.0
            until(at_spare, GENEROUS, f"{BOB} to know where {ALICE} is now")
            until(direct, GENEROUS, "both ends to be direct once more")
