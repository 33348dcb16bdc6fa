"""Each of the four rules broken: at one end, at both, by silence and by refusal.

Room: lab.
"""

from __future__ import annotations

from ginnel.lab.diagnosis.fault import Fault, Proof, Step, View, homes, seen_by_both
from ginnel.lab.diagnosis.proofs import closed, drops, no_stun, stays
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import NODE_PORT, SERVER

HOWS = ("drop", "reject with tcp reset", "reject with icmp type admin-prohibited")
UDP_HOWS = ("drop", "drop", "reject with icmp type port-unreachable")


def blocks(match: str, *hosts: str, hows: tuple[str, ...] = ("drop",)) -> Step:
    """At each host's router; the seed picks how. What is left of a pair then is waited for by the proof."""

    def inject(world: World) -> None:
        how = world.rng.choice(hows)
        for host in hosts:
            world.drop(host, match, how=how)

    return inject


def udp_gone_at_host(world: World) -> None:
    world.nft(ALICE, 'add chain inet lab out { type filter hook output priority 0; }\n'
              'add rule inet lab out oifname "eth0" meta l4proto udp udp dport != 53 drop\n')  # fmt: skip
    world.settle("relay", 30.0)


def then_relayed(step: Step) -> Step:
    def inject(world: World) -> None:
        step(world)
        world.settle("relay", 30.0)

    return inject


STEADY = (
    "easy",
    "easy-address-dependent",
    "full-cone",
)  # between bare NATs other sockets than the tunnel's find the way
TUNNEL = f"udp sport {NODE_PORT}"
RELAYS_AND_CONTROL = ("derp-a", "derp-b", SERVER)
FAULTS = (
    Fault(
        "https-blocked",
        "ports",
        "no TCP to port 443 gets out of one network",
        (View(ALICE, "https-blocked", mend_at=ALICE),),
        closed(ALICE, *RELAYS_AND_CONTROL, other=BOB),
        inject=blocks("tcp dport 443", ALICE, hows=HOWS),
    ),
    Fault(
        "https-blocked-both",
        "ports",
        "no TCP to port 443 gets out of either network",
        (View(ALICE, "https-blocked"), View(BOB, "https-blocked")),
        lambda world: both(closed(ALICE, *RELAYS_AND_CONTROL)(world), closed(BOB, *RELAYS_AND_CONTROL)(world)),
        inject=blocks("tcp dport 443", ALICE, BOB, hows=HOWS),
    ),
    Fault(
        "tunnel-port-blocked",
        "ports",
        f"UDP from source port {NODE_PORT} does not get out of one network, other UDP does",
        (View(ALICE, "tunnel-port-blocked", mend_at=ALICE),),
        drops(ALICE),
        sites=homes(alice=STEADY, bob=STEADY),
        inject=blocks(TUNNEL, ALICE, hows=UDP_HOWS),
    ),
    Fault(
        "tunnel-port-blocked-both",
        "ports",
        f"UDP from source port {NODE_PORT} gets out of neither network",
        (View(ALICE, "tunnel-port-blocked"), View(BOB, "tunnel-port-blocked")),
        drops(ALICE, BOB),
        sites=homes(alice=STEADY, bob=STEADY),
        inject=blocks(TUNNEL, ALICE, BOB, hows=UDP_HOWS),
    ),
    Fault(
        "stun-blocked",
        "ports",
        "UDP to port 3478 does not get out of one network",
        (View(ALICE, "stun-blocked"),),
        no_stun(ALICE, fine=(BOB,)),
        before=blocks("udp dport 3478", ALICE, hows=UDP_HOWS),
        meets="",
    ),
    Fault(
        "stun-blocked-both",
        "ports",
        "UDP to port 3478 gets out of neither network: the pair is relayed",
        (View(ALICE, "stun-blocked"), View(ALICE, "stun-blocked", BOB)),
        stays("relay", no_stun(ALICE, BOB)),
        sites=homes(alice=("easy", "easy-bare"), bob=("easy", "easy-bare")),
        before=blocks("udp dport 3478", ALICE, BOB),
        meets="relay",
    ),
    Fault(
        "port80-blocked",
        "ports",
        "TCP to port 80 does not get out of one network: only portals go unnoticed",
        (View(ALICE, "port80-blocked", informational=True),),
        closed(ALICE, "derp-a", "derp-b", port=80, other=BOB),
        before=blocks("tcp dport 80", ALICE),
    ),
    Fault(
        "port80-blocked-both",
        "ports",
        "TCP to port 80 gets out of neither network",
        (View(ALICE, "port80-blocked", informational=True), View(BOB, "port80-blocked", informational=True)),
        lambda world: both(*(closed(host, "derp-a", "derp-b", port=80)(world) for host in (ALICE, BOB))),
        before=blocks("tcp dport 80", ALICE, BOB, hows=HOWS),
    ),
    Fault(
        "udp-blocked",
        "ports",
        "one network's router drops all UDP, from the start",
        (View(ALICE, "udp-blocked"), *seen_by_both("udp-blocked", "peer-udp-blocked", mend_at=ALICE)),
        stays("relay", no_stun(ALICE, fine=(BOB,))),
        sites=homes(alice=("udp-blocked",)),
        meets="relay",
    ),
    Fault(
        "udp-blocked-later",
        "ports",
        "one network begins to drop UDP while the pair is direct",
        (View(ALICE, "udp-blocked"), *seen_by_both("udp-blocked", "peer-udp-blocked", mend_at=ALICE)),
        stays("relay", no_stun(ALICE, fine=(BOB,))),
        inject=then_relayed(blocks("meta l4proto udp udp dport != 53", ALICE, hows=UDP_HOWS)),
    ),
    Fault(
        "udp-blocked-both",
        "ports",
        "both networks' routers drop all UDP",
        (
            View(ALICE, "udp-blocked"),
            View(ALICE, "udp-blocked", BOB, also=("peer-udp-blocked",)),
            View(BOB, "udp-blocked", ALICE, also=("peer-udp-blocked",)),
        ),
        stays("relay", no_stun(ALICE, BOB)),
        sites=homes(alice=("udp-blocked",), bob=("udp-blocked",)),
        meets="relay",
    ),
    Fault(
        "udp-blocked-by-host",
        "ports",
        "a firewall on the machine itself lets no UDP out",
        (View(ALICE, "udp-blocked", also=("host-firewall",)),),
        stays("relay", no_stun(ALICE, fine=(BOB,))),
        inject=udp_gone_at_host,
    ),
    Fault(
        "only-web-ports",
        "ports",
        "only TCP to ports 80 and 443 gets out of one network",
        (View(ALICE, "udp-blocked"), View(ALICE, "udp-blocked", BOB)),
        stays("relay", no_stun(ALICE, fine=(BOB,)), closed(ALICE, port=80, but=("derp-a",))),
        sites=homes(alice=("443-only",)),
        meets="relay",
    ),
)  # fmt: skip


def both(*proofs: Proof) -> Proof:
    return Proof(all(one.holds for one in proofs), "; ".join(one.detail for one in proofs))
