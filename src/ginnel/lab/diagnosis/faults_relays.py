"""One relay that one network does not reach: the fault by which pairs lose contact that seem picked at random.

Room: lab.
"""

from __future__ import annotations

from ginnel.lab.diagnosis.fault import Fault, Step, View, homes
from ginnel.lab.diagnosis.proofs import closed, issuer, proof, tcp
from ginnel.lab.diagnosis.strangers import Authority, Interceptor
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import SERVER
from ginnel.lab.topology import INTERNET

HOWS = ("drop", "reject with tcp reset")
OPERATOR = "the server"
SILENT = ("udp-blocked",)
GATEWAY = "Acme Secure Web Gateway"
PROXY_PORT = 8443


def relay_blocked(relay: str, *hosts: str) -> Step:
    """All of one relay's services; the seed picks whether STUN to it gets through."""

    def inject(world: World) -> None:
        address, how = world.lab.addresses[relay], world.rng.choice(HOWS)
        for host in hosts:
            world.drop(host, f"ip daddr {address} tcp dport 443", how=how)
            if world.rng.random() < 0.5:
                world.drop(host, f"ip daddr {address} meta l4proto udp")

    return inject


def out_of_reach_of_both(world: World) -> None:
    relay_blocked("derp-a", ALICE)(world)
    relay_blocked("derp-b", BOB)(world)


def relay_gone(relay: str) -> Step:
    """Its process dies, or its machine vanishes."""

    def inject(world: World) -> None:
        if world.rng.random() < 0.5:
            world.relays[relay].kill()
        else:
            address = world.lab.addresses[relay]
            world.lab.block(INTERNET, f"ip saddr {address} drop", f"ip daddr {address} drop")

    return inject


def intercepted(world: World) -> None:
    """TLS to one relay alone is opened on the way."""
    router, address = world.router(ALICE), world.inside(world.router(ALICE))
    world.stack.enter_context(Interceptor(world.lab.spaces[router], address, PROXY_PORT, Authority(GATEWAY)))
    derp = world.lab.addresses["derp-b"]
    world.redirect(ALICE, f'iifname "lan0" ip daddr {derp} tcp dport 443 redirect to :{PROXY_PORT}')


FAULTS = (
    Fault(
        "relay-blocked-far",
        "relays",
        "one network does not reach the relay of another region than its home",
        (View(ALICE, "relay-blocked", names=("nyc", "derp-b", "911"), mend_at=ALICE),),
        closed(ALICE, "derp-b", but=("derp-a", SERVER), other=BOB),
        inject=relay_blocked("derp-b", ALICE),
    ),
    Fault(
        "relay-blocked-home",
        "relays",
        "one network does not reach the relay of the nearest region",
        (View(ALICE, "relay-blocked", names=("fra", "derp-a", "910")),),
        closed(ALICE, "derp-a", but=("derp-b", SERVER), other=BOB),
        inject=relay_blocked("derp-a", ALICE),
    ),
    Fault(
        "relay-blocked-one-node",
        "relays",
        "one network does not reach the first of a region's two relays",
        (View(ALICE, "relay-blocked", names=("910a", "derp-a")),),
        closed(ALICE, "derp-a", but=("derp-b", "derp-c", SERVER), other=BOB),
        inject=relay_blocked("derp-a", ALICE),
        relays=("derp-a", "derp-b", "derp-c"),
    ),
    Fault(
        "udp-and-relay-blocked",
        "relays",
        "a pair that needs relays, and one of them does not reach everybody's home: they meet at another relay",
        (
            View(ALICE, "relay-blocked", also=("udp-blocked",)),
            View(ALICE, "relay-blocked", BOB, also=("udp-blocked", "peer-udp-blocked")),
            View(BOB, "peer-relay-blocked", ALICE, also=("udp-blocked", "peer-udp-blocked")),
        ),
        closed(ALICE, "derp-a", but=("derp-b", SERVER), other=BOB),
        sites=homes(alice=SILENT, bob=SILENT),
        inject=relay_blocked("derp-a", ALICE),
        meets="relay",
    ),
    Fault(
        "no-common-relay",
        "relays",
        "a pair that needs relays, and no relay is reached by both",
        (
            View(ALICE, "no-common-relay", BOB, also=("relay-blocked",), names=("fra", "910")),
            View(BOB, "no-common-relay", ALICE, also=("relay-blocked",), names=("nyc", "911")),
        ),
        lambda world: proof(
            **{
                f"{host}-{relay}": (tcp(world, host, relay) == "open", fine)
                for host, relay, fine in (
                    (ALICE, "derp-a", False),
                    (ALICE, "derp-b", True),
                    (BOB, "derp-a", True),
                    (BOB, "derp-b", False),
                )
            }
        ),
        sites=homes(alice=SILENT, bob=SILENT),
        inject=out_of_reach_of_both,
        meets="relay",
    ),
    Fault(
        "relay-down",
        "relays",
        "the relay of a region is gone, and the map still has it",
        (View(ALICE, "relay-down", names=("nyc", "derp-b", "911"), mend_at=OPERATOR),),
        lambda world: proof(
            alice=(tcp(world, ALICE, "derp-b") != "open", True), bob=(tcp(world, BOB, "derp-b") != "open", True)
        ),
        inject=relay_gone("derp-b"),
    ),
    Fault(
        "relay-down-home",
        "relays",
        "the relay of everybody's home is gone under a relayed pair, and the map still has it",
        (
            View(ALICE, "relay-down", names=("fra", "derp-a", "910")),
            View(BOB, "relay-down", names=("fra", "derp-a", "910")),
        ),
        lambda world: proof(
            alice=(tcp(world, ALICE, "derp-a") != "open", True), bob=(tcp(world, BOB, "derp-a") != "open", True)
        ),
        sites=homes(alice=("hard-random",), bob=("hard-random",)),
        inject=relay_gone("derp-a"),
        meets="relay",
    ),
    Fault(
        "relay-intercepted",
        "relays",
        "a proxy opens the TLS of one relay alone",
        (View(ALICE, "tls-interception", names=(GATEWAY,)),),
        lambda world: proof(
            derp_b=(GATEWAY in issuer(world, ALICE, "derp-b", "derp-b.example"), True),
            derp_a=(GATEWAY in issuer(world, ALICE, "derp-a", "derp-a.example"), False),
            bob=(GATEWAY in issuer(world, BOB, "derp-b", "derp-b.example"), False),
        ),
        inject=intercepted,
    ),
)
