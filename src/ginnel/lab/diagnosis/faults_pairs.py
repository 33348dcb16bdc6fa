"""Why a pair is relayed though nothing is blocked: NATs, ports, the way itself.

Room: lab.
"""

from __future__ import annotations

import random
import socket

from ginnel.lab.diagnosis.fault import Fault, Proof, View, homes, seen_by_both
from ginnel.lab.diagnosis.proofs import drops, no_stun, proof, stays
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import LAN, NODE_PORT, network
from ginnel.lab.topology import Host, Router, Topology

WIREGUARD = ("0x01000000", "0x02000000", "0x04000000")  # handshake initiation and response, data
HARD = ("hard-random",)
NO_GUESSING = """{
  "acls": [{"action": "accept", "src": ["*"], "dst": ["*:*"]}],
  "nodeAttrs": [{"target": ["*"], "attr": ["disable-hard-nat-probing"]}],
}"""
OPENS = ("sudo ginnel firewall open", f"sudo ufw allow {NODE_PORT}/udp", "sudo nft ", "sudo iptables ")


def policy(text: str, world: World) -> None:
    (world.lab.directory / "server" / "policy.json").write_text(text)
    world.admin("policy", "set", world.lab.inside_path("policy.json"))


def no_guessing(world: World) -> None:
    """Policy forbids to guess ports: what a hard NAT does, it keeps doing."""
    policy(NO_GUESSING, world)


# --- networks ---


def carriers_hard(rng: random.Random) -> Topology:
    """Alice's home router is easy, the carrier's above it is not."""
    far = network(bob=rng.choice(("hard-random", "hard-sequential")))
    isp = Router("isp-alice", "hard-random", carrier=True)
    home = Router("nat-alice", "easy", uplink="isp-alice")
    return Topology((isp, home, *far.routers), (*far.hosts, Host(ALICE, on="nat-alice")))


def both_below_a_carrier(_: random.Random) -> Topology:
    """Both homes hang on one carrier's NAT, which turns no packets round."""
    isp = Router("isp", "easy", carrier=True)
    homes_ = tuple(Router(f"nat-{name}", "easy", uplink="isp") for name in (ALICE, BOB))
    return Topology((isp, *homes_), (Host("server", on="core"), *(Host(n, on=f"nat-{n}") for n in (ALICE, BOB))))


# --- steps ---


def isolate(world: World) -> None:
    """Guests of one Wi-Fi do not see each other."""
    for host in (ALICE, BOB):
        world.lab.spaces[LAN].run(["bridge", "link", "set", "dev", f"p-{host}", "isolated", "on"])


def take_port(world: World) -> None:
    """Another program has it already."""
    taken = world.lab.spaces[ALICE].socket(socket.SOCK_DGRAM, ("0.0.0.0", NODE_PORT))  # noqa: S104
    world.stack.callback(taken.close)


def hole(world: World) -> None:
    """Large UDP packets vanish at alice's router, and nobody says so."""
    world.drop(ALICE, "meta l4proto udp meta length > 1200")
    world.settle("relay", 40.0)


def data_taken(world: World) -> None:
    """Somebody knows WireGuard by its first bytes (whitepaper 5.4): the pings that find ways are let through."""
    world.drop(ALICE, f"meta l4proto udp @th,64,32 {{ {', '.join(WIREGUARD)} }}")
    world.settle("relay", 40.0)


# --- proofs ---


def port_elsewhere(world: World) -> Proof:
    """Alice's daemon tells another port than its own."""
    said = [str(end) for end in (world.alice.status() or {})["Self"].get("Addrs") or []]
    return proof(tells_its_port=(any(end.endswith(f":{NODE_PORT}") for end in said), False))


FAULTS = (
    Fault(
        "hard-hard",
        "nat",
        "a random port for each destination at both ends",
        seen_by_both("hard-nat-both", "hard-nat-both", mend=OPENS),
        stays("relay"),
        sites=homes(alice=HARD, bob=HARD),
        meets="relay",
    ),
    Fault(
        "hard-sequential",
        "nat",
        "a random port for each destination at one end, the next one at the other",
        seen_by_both("hard-nat-both", "hard-nat-both", mend=OPENS),
        stays("relay"),
        sites=homes(alice=("hard-sequential",), bob=HARD),
        meets="relay",
    ),
    Fault(
        "hard-easy-no-guessing",
        "nat",
        "a hard NAT and an easy one, where policy forbids to guess ports",
        seen_by_both("hard-nat-pair", "hard-nat-pair", mend=OPENS),
        stays("relay"),
        sites=homes(alice=HARD, bob=("easy", "easy-bare")),
        setup=no_guessing,
        meets="relay",
    ),
    Fault(
        "hard-and-blocked",
        "nat",
        "a hard NAT at one end, no UDP at the other",
        seen_by_both("peer-udp-blocked", "udp-blocked", mend_at=BOB),
        stays("relay", no_stun(BOB, fine=(ALICE,))),
        sites=homes(alice=HARD, bob=("udp-blocked",)),
        meets="relay",
    ),
    Fault(
        "carriers-hard-nat",
        "nat",
        "a home router behind a carrier's hard NAT, where no port can be opened; the other end is hard as well",
        (
            View(ALICE, "cgnat-double-nat", BOB, mend_at=BOB, mend=OPENS),
            View(BOB, "cgnat-double-nat", ALICE, also=("hard-nat-both",), mend_at=BOB, mend=OPENS),
        ),
        stays("relay"),
        sites=carriers_hard,
        meets="relay",
    ),
    Fault(
        "one-carrier",
        "nat",
        "two homes behind the same carrier's NAT, which turns no packets round",
        (
            View(ALICE, "hairpin", BOB, also=("cgnat-double-nat",)),
            View(BOB, "hairpin", ALICE, also=("cgnat-double-nat",)),
        ),
        stays("relay"),
        sites=both_below_a_carrier,
        meets="relay",
    ),
    Fault(
        "guests-apart",
        "nat",
        "two guests of one Wi-Fi that keeps them apart, behind a router that turns no packets round",
        seen_by_both("hairpin", "hairpin"),
        stays("relay"),
        sites=lambda _: network(alice="same-lan-no-hairpin", bob="same-lan-no-hairpin"),
        before=isolate,
        meets="relay",
    ),
    Fault(
        "port-taken",
        "host",
        "two hard NATs; one forwards the port, which another program on the machine has",
        (View(ALICE, "port-taken", mend_at=ALICE), View(ALICE, "port-taken", BOB, mend_at=ALICE)),
        stays("relay", port_elsewhere),
        sites=lambda _: network(alice="hard-random+open-port", bob="hard-random"),
        before=take_port,
        meets="relay",
    ),
    Fault(
        "wireguard-filtered",
        "nat",
        "pings of the mesh pass, WireGuard's handshakes and data vanish on the direct way",
        seen_by_both("wireguard-filtered", "wireguard-filtered"),
        drops(ALICE),
        inject=data_taken,
    ),
    Fault(
        "mtu-hole",
        "nat",
        "large UDP packets vanish on the way, small ones arrive",
        (View(ALICE, "mtu-hole", BOB),),
        drops(ALICE),
        inject=hole,
    ),
)
