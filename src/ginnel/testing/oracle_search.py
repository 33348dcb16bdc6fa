"""Which search gets two machines through where ordinary disco cannot, and how long that may take: by reasoning.

Room: testing. Source of the rules: docs/protocol/punch.md. What a chain of NATs does to a fresh socket decides, and
what its machine can learn of that from so many STUN servers.

A birthday search of 20 s misses with exp(-(0.5 + 0.4 * 17.4)) = 5.8e-4, and with 1.3e-3 where a tenth of all packets is
lost, as a guess that arrives is answered by several packets. Two in a row miss with less than 2e-6: of 10,000 seeds one
in ten has such a pair, so that one run in 500 of them all fails by chance.
"""

from __future__ import annotations

from enum import IntEnum

from ginnel.testing.nat import Depends, Nat, Ports, Udp
from ginnel.testing.network import Host

BEGINS = 1.8  # seconds of ordinary means
AGREED_IN = 1.5  # sockets, STUN, two words by relay, the last packet's answer
ATTEMPT = 2.4
ATTEMPTS = 5
SEARCH = 20.0 + 1.2
SEARCHES = 2
ATTEMPTS_WITHIN = BEGINS + ATTEMPTS * (AGREED_IN + ATTEMPT)
SEARCHES_WITHIN = BEGINS + SEARCHES * (AGREED_IN + SEARCH)


class Fresh(IntEnum):
    """The outside port of a fresh socket. Lesser kinds are easier."""

    EASY = 1
    SEQUENTIAL = 2
    RANDOM = 3


class Search(IntEnum):
    FRESH_SOCKETS = 1
    PREDICTION = 2
    BIRTHDAY = 3

    @property
    def guesses(self) -> bool:
        """It tries ports that nobody named."""
        return self is not Search.FRESH_SOCKETS

    @property
    def within(self) -> float:
        """Seconds, undisturbed."""
        return SEARCHES_WITHIN if self is Search.BIRTHDAY else ATTEMPTS_WITHIN


def search(a: Host, b: Host, servers: int) -> Search | None:
    """`servers`: STUN servers. None: only luck or nothing."""
    chains = chain(a), chain(b)
    if a.v4 is None or b.v4 is None or any(nat in chains[1] for nat in chains[0]):
        return None
    kinds = [fresh(nats, servers) for nats in chains]
    if None in kinds:
        return None
    match sorted(kind for kind in kinds if kind is not None):
        case [Fresh.EASY, Fresh.EASY]:
            return Search.FRESH_SOCKETS
        case [Fresh.EASY | Fresh.SEQUENTIAL, Fresh.SEQUENTIAL]:
            return Search.PREDICTION
        case [Fresh.EASY, Fresh.RANDOM]:
            return Search.BIRTHDAY
    return None


def chain(host: Host) -> list[Nat]:
    """From the inside to the internet."""
    nats, nat = list[Nat](), host.nat
    while nat is not None:
        nats.append(nat)
        nat = nat.upstream
    return nats


def fresh(nats: list[Nat], servers: int) -> Fresh | None:
    """As its machine takes it. One server cannot tell a NAT that changes ports from one that does so for each
    destination. None: nothing gets out."""
    kind = Fresh.EASY
    for nat in nats:
        rule = nat.kind
        if rule.udp is not Udp.OPEN:
            return None
        if rule.mapping is Depends.NOTHING:
            disguised = rule.ports is not Ports.KEPT and (servers < 2 or kind is Fresh.SEQUENTIAL)
            kind = Fresh.RANDOM if disguised else kind
        elif rule.ports is not Ports.KEPT:
            kind = Fresh.RANDOM if rule.ports is Ports.RANDOM else Fresh.SEQUENTIAL
    return kind
