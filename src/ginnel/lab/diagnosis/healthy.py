"""Networks with nothing wrong: whoever finds a fault here cries wolf.

Room: lab.
"""

from __future__ import annotations

import random

from ginnel.lab.diagnosis.fault import Fault, Proof, Sites, View, homes
from ginnel.lab.diagnosis.faults_pairs import hole
from ginnel.lab.diagnosis.proofs import all_fine, page, proof, stays
from ginnel.lab.diagnosis.strangers import FORBIDDEN, FalsePage
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import network
from ginnel.lab.topology import Host, Router, Topology

PAGE_PORT = 8080
AGAIN_DIRECT = 90.0  # a way that lost packets is left alone for 30 s
BOTH = (View(ALICE), View(ALICE, peer=BOB), View(BOB, peer=ALICE))
ALONE = (View(ALICE), View(BOB))


def direct(name: str, about: str, sites: Sites) -> Fault:
    return Fault(f"healthy-{name}", "healthy", about, BOTH, stays("direct", all_fine), sites=sites)


def public_names(world: World) -> None:
    for host in (ALICE, BOB):
        world.ask_resolver(host, world.lab.plan.observer[0])


def by_modem(rng: random.Random) -> Topology:
    """Alice's machine has the carrier's address itself, of the range that the mesh uses as well."""
    far = network(bob=rng.choice(("easy", "full-cone")))
    carrier = Router("isp-alice", "easy", carrier=True)
    return Topology((*far.routers, carrier), (*far.hosts, Host(ALICE, on="isp-alice")))


def page_on_port_80(world: World) -> None:
    """A company shows its own page to whoever speaks plain HTTP; nothing of the mesh needs that port."""
    router = world.router(ALICE)
    world.stack.enter_context(FalsePage(world.lab.spaces[router], world.inside(router), PAGE_PORT, FORBIDDEN))
    world.redirect(ALICE, f'iifname "lan0" tcp dport 80 redirect to :{PAGE_PORT}')


def only_port_80(world: World) -> Proof:
    shown = proof(page=(page(world, ALICE, world.lab.addresses["derp-a"])[0], 403))
    fine = stays("direct", all_fine)(world)
    return Proof(shown.holds and fine.holds, f"{shown.detail}; {fine.detail}")


def hole_mended(world: World) -> None:
    """There was one, the way was given up for it, and it is in use again."""
    hole(world)
    world.lab.unblock(world.router(ALICE))
    world.settle("direct", AGAIN_DIRECT)


FAULTS = (
    direct("public", "two public addresses", homes(alice=("none",), bob=("none",))),
    direct("homes", "two ordinary home routers", homes()),
    direct("guarded", "a public address that lets in only answers, and a home",
           homes(alice=("host-firewall-default-deny",))),
    direct("upnp", "a hard NAT that forwards ports by UPnP, and a hard one",
           homes(alice=("upnp",), bob=("hard-random",))),
    direct("pcp", "hard NATs that forward ports by PCP or NAT-PMP",
           homes(alice=("pcp", "nat-pmp"), bob=("hard-random", "pcp"))),
    direct("carrier", "a home behind a carrier's NAT, and a home", homes(alice=("double-nat",))),
    direct("modem", "a machine with a carrier's address of its own", by_modem),
    direct("open-port", "a hard NAT whose port is open, and a hard one",
           homes(alice=("hard-random+open-port",), bob=("hard-random",))),
    direct("one-lan", "two machines in one LAN",
           lambda _: network(alice="same-lan-no-hairpin", bob="same-lan-no-hairpin")),
    direct("six", "hard NATs, and IPv6", homes(alice=("dual-hard",), bob=("dual-hard",))),
    direct("hairpin", "home routers that turn packets round", homes(alice=("easy+hairpin", "full-cone+hairpin"))),
    Fault("healthy-public-names", "healthy", "homes that ask a name server on the internet", BOTH,
          stays("direct", all_fine), before=public_names),
    Fault("healthy-port-80-page", "healthy", "homes, and a company's page for plain HTTP", BOTH, only_port_80,
          inject=page_on_port_80),
    Fault("healthy-hole-mended", "healthy", "a link that lost large packets a minute ago", BOTH,
          stays("direct", all_fine), inject=hole_mended),
    Fault("healthy-hard-alone", "healthy", "hard NATs, where nobody asks for a peer", ALONE, all_fine,
          sites=homes(alice=("hard-random",), bob=("hard-sequential",)), meets="relay"),
    Fault("healthy-idle", "healthy", "two homes that never talked", ALONE, all_fine, meets="", talks=False),
)  # fmt: skip
