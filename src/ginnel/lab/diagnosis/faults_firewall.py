"""The machine's own firewall: what it lets not out, and what it lets not pass inside the tunnel.

Room: lab. What it keeps from coming in stands beside the NATs that make it matter: faults_pairs.py.
"""

from __future__ import annotations

from ginnel.lab.diagnosis.fault import Fault, Step, View
from ginnel.lab.diagnosis.faults_host import silent_tunnel
from ginnel.lab.diagnosis.proofs import closed
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import SERVER

NOTHING_NEW_OUT = """
add table inet strict
add chain inet strict out { type filter hook output priority 0; }
add rule inet strict out oifname "eth0" udp dport != 53 drop
add rule inet strict out oifname "eth0" tcp dport { 80, 443 } ct state new drop
"""
NOTHING_INSIDE = """
add table inet strict
add chain inet strict in { type filter hook input priority 0; policy drop; }
add rule inet strict in iifname { "lo", "eth0" } accept
add chain inet strict out { type filter hook output priority 0; policy drop; }
add rule inet strict out oifname { "lo", "eth0" } accept
"""


def own_rules(script: str) -> Step:
    def inject(world: World) -> None:
        world.nft(ALICE, script)

    return inject


FAULTS = (
    Fault(
        "host-firewall-outward",
        "host",
        "the machine's own firewall lets nothing new out",
        (View(ALICE, "host-firewall", names=("table inet strict",)),),
        closed(ALICE, "derp-a", "derp-b", SERVER, other=BOB),
        inject=own_rules(NOTHING_NEW_OUT),
    ),
    Fault(
        "host-firewall-inside",
        "host",
        "the machine's own firewall lets the mesh's rules pass, and nothing inside the tunnel",
        (
            View(ALICE, "host-firewall", names=("table inet strict",)),
            View(ALICE, "host-firewall", BOB),
            View(BOB, "peer-host-firewall", ALICE),
        ),
        silent_tunnel,
        inject=own_rules(NOTHING_INSIDE),
    ),
)
