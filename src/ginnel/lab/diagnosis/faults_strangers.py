"""Somebody answers in a server's place: TLS opened on the way, names that lead astray, captive portals of five sorts.

Room: lab.
"""

from __future__ import annotations

from ginnel.lab.diagnosis.fault import Fault, Proof, Step, View
from ginnel.lab.diagnosis.faults_relays import GATEWAY, PROXY_PORT
from ginnel.lab.diagnosis.programs import CONTROL_NAME
from ginnel.lab.diagnosis.proofs import Prove, closed, issuer, page, proof, resolves, tcp
from ginnel.lab.diagnosis.resolver import Mood, Resolver
from ginnel.lab.diagnosis.strangers import (
    AUTHENTICATE,
    FAKE_204,
    FORBIDDEN,
    PAGE,
    REDIRECT,
    Authority,
    FalsePage,
    Interceptor,
)
from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import SERVER

PORTAL_PORT = 8080
DERPS = ("derp-a", "derp-b")


# --- TLS ---


def opens_tls(answer: bytes = b"") -> Step:
    def inject(world: World) -> None:
        router, address = world.router(ALICE), world.inside(world.router(ALICE))
        proxy = Interceptor(world.lab.spaces[router], address, PROXY_PORT, Authority(GATEWAY), answer)
        world.stack.enter_context(proxy)
        world.redirect(ALICE, f'iifname "lan0" tcp dport 443 redirect to :{PROXY_PORT}')

    return inject


def shows_gateway(world: World) -> Proof:
    named = {DERPS[0]: "derp-a.example", SERVER: CONTROL_NAME}
    return proof(
        **{f"alice-{target}": (GATEWAY in issuer(world, ALICE, target, name), True) for target, name in named.items()},
        **{f"bob-{target}": (GATEWAY in issuer(world, BOB, target, name), False) for target, name in named.items()},
    )


# --- names ---


def home_resolver(world: World) -> Resolver:
    """The name server that alice asks."""
    return world.resolvers[world.router(ALICE)]


def with_mood(mood: Mood) -> Step:
    def inject(world: World) -> None:
        home_resolver(world).mood = mood

    return inject


def lies(*targets: str) -> Step:
    """These names lead to the router, where a page says that they are blocked."""

    def inject(world: World) -> None:
        resolver = home_resolver(world)
        for target in targets:
            resolver.lies[CONTROL_NAME if target == SERVER else f"{target}.example"] = (resolver.liar,)
        router = world.router(ALICE)
        world.stack.enter_context(FalsePage(world.lab.spaces[router], resolver.liar, 80, FORBIDDEN))

    return inject


def names_gone(*names: str) -> Step:
    def inject(world: World) -> None:
        resolver = home_resolver(world)
        for name in names:
            del resolver.table[name]

    return inject


def resolved(world: World, want: str) -> Proof:
    """want: where alice is sent."""
    return proof(
        alice=(resolves(world, ALICE, CONTROL_NAME), want),
        bob=(resolves(world, BOB, CONTROL_NAME), world.control_address),
    )


# --- captive portals ---


def portal(answer: bytes, https: str = "drop", *, names_too: bool = False) -> Step:
    """Nothing gets out but what the portal leads to itself. https: what becomes of port 443."""

    def inject(world: World) -> None:
        router = world.router(ALICE)
        address = world.inside(router)
        resolver = home_resolver(world)
        if names_too:
            resolver.mood = "one-address"
        port = 80 if names_too else PORTAL_PORT
        world.stack.enter_context(FalsePage(world.lab.spaces[router], address, port, answer))
        world.drop(ALICE, "meta l4proto udp")
        world.drop(ALICE, "tcp dport 443", how=https)
        if names_too:
            world.drop(ALICE, "tcp dport 80")
            world.lab.spaces[router].run(["conntrack", "-F"])
        else:
            world.redirect(ALICE, f'iifname "lan0" tcp dport 80 redirect to :{port}')

    return inject


def false_page(status: int) -> Prove:
    """What a relay's page is to alice, and to bob who has no portal."""

    def prove(world: World) -> Proof:
        relay = world.lab.addresses["derp-a"]
        return proof(
            alice=(page(world, ALICE, relay), (status, "")),
            bob=(page(world, BOB, relay), (204, "response ts_proof")),
            https=(tcp(world, ALICE, "derp-a") != "open", True),
        )

    return prove


RESET = "reject with tcp reset"
PORTAL = (View(ALICE, "captive-portal"),)
FAULTS = (
    Fault(
        "tls-interception",
        "tls",
        "a proxy opens all TLS with an authority of its own, and passes it on",
        (View(ALICE, "tls-interception", names=(GATEWAY,)),),
        shows_gateway,
        inject=opens_tls(),
    ),
    Fault(
        "tls-block-page",
        "tls",
        "a proxy opens all TLS and answers with a page that says blocked",
        (View(ALICE, "tls-interception", names=(GATEWAY,)),),
        shows_gateway,
        inject=opens_tls(FORBIDDEN),
    ),
    Fault(
        "dns-silent",
        "names",
        "one network's name server says nothing",
        (View(ALICE, "dns-broken"),),
        lambda world: resolved(world, ""),
        inject=with_mood("silent"),
    ),
    Fault(
        "dns-servfail",
        "names",
        "one network's name server fails for every name",
        (View(ALICE, "dns-broken"),),
        lambda world: resolved(world, ""),
        inject=with_mood("servfail"),
    ),
    Fault(
        "dns-lies-all",
        "names",
        "a filter sends the server's and the relays' names to a page of its own",
        (View(ALICE, "dns-lies"),),
        lambda world: resolved(world, world.inside(world.router(ALICE))),
        inject=lies(SERVER, *DERPS),
    ),
    Fault(
        "dns-lies-control",
        "names",
        "a filter sends the server's name alone to a page of its own",
        (View(ALICE, "dns-lies", names=(CONTROL_NAME,)),),
        lambda world: resolved(world, world.inside(world.router(ALICE))),
        inject=lies(SERVER),
    ),
    Fault(
        "dns-denies",
        "names",
        "a filter says that the server's name does not exist, while others do",
        (View(ALICE, "dns-lies", also=("dns-broken",), names=(CONTROL_NAME,)),),
        lambda world: resolved(world, ""),
        inject=names_gone(CONTROL_NAME),
    ),
    Fault(
        "portal-redirect",
        "network",
        "a captive portal sends port 80 to its login page and drops the rest",
        PORTAL,
        false_page(302),
        inject=portal(REDIRECT),
    ),
    Fault(
        "portal-page",
        "network",
        "a captive portal answers port 80 with its page and resets the rest",
        PORTAL,
        false_page(200),
        inject=portal(PAGE, RESET),
    ),
    Fault(
        "portal-fake-204",
        "network",
        "a captive portal fakes 204 to look like the internet, without the challenge's answer",
        PORTAL,
        false_page(204),
        inject=portal(FAKE_204),
    ),
    Fault(
        "portal-by-dns",
        "network",
        "a captive portal leads every name to itself; addresses get nowhere",
        (View(ALICE, "captive-portal", also=("dns-lies",)),),
        lambda world: proof(
            name=(resolves(world, ALICE, "derp-a.example"), world.inside(world.router(ALICE))),
            page=(page(world, ALICE, world.inside(world.router(ALICE)))[0], 200),
            https=(tcp(world, ALICE, "derp-a") != "open", True),
        ),
        inject=portal(PAGE, names_too=True),
    ),
    Fault(
        "portal-511",
        "network",
        "a captive portal asks for authentication (511) and resets the rest",
        PORTAL,
        false_page(511),
        inject=portal(AUTHENTICATE, RESET),
    ),
    Fault(
        "control-blocked",
        "network",
        "one network does not reach the coordination server, and the relays it does",
        (View(ALICE, "control-blocked", names=(CONTROL_NAME,)),),
        closed(ALICE, SERVER, but=DERPS, other=BOB),
        inject=lambda world: world.drop(
            ALICE,
            f"ip daddr {world.control_address} tcp dport {{ 80, 443 }}",
            how=world.rng.choice(("drop", RESET)),
        ),
    ),
)
