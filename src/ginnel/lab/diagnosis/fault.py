"""The nouns: a fault that is done to a network, and what a doctor should say about it from each end.

Room: lab.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from ginnel.lab.diagnosis.world import ALICE, BOB, World
from ginnel.lab.kinds import network
from ginnel.lab.topology import Topology

Group = Literal["ports", "relays", "tls", "names", "nat", "host", "network", "mesh", "healthy"]
HOMES = ("easy", "easy-bare", "easy-address-dependent", "full-cone")


@dataclass(frozen=True, slots=True)
class View:
    """`ginnel doctor [PEER]` on a machine, and its right first cause. also: words that are as right, where two causes
    are both there. names: one of these must stand in what is said of the cause. informational: it harms nobody, so the
    verdict stays healthy. cause "": nothing is wrong. mend_at: the machine to which the way out must send people, ""
    whichever; mend: a command there must begin with one of these."""

    at: str
    cause: str = ""
    peer: str = ""
    also: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    informational: bool = False
    mend_at: str = ""
    mend: tuple[str, ...] = ()

    @property
    def command(self) -> str:
        return f"{self.at}: doctor {self.peer}".rstrip()


@dataclass(frozen=True, slots=True)
class Proof:
    """Whether the fault is in force, by packets and not by anybody's word."""

    holds: bool
    detail: str


Sites = Callable[[random.Random], Topology]
Step = Callable[[World], None]


def nothing(world: World) -> None:
    pass


def homes(*, alice: tuple[str, ...] = HOMES, bob: tuple[str, ...] = HOMES) -> Sites:
    """The seed picks a kind of network for each."""
    return lambda rng: network(**{ALICE: rng.choice(alice), BOB: rng.choice(bob)})


TWO_HOMES = homes()


@dataclass(frozen=True, slots=True)
class Fault:
    """before: done while no program runs. setup: with the server up and nobody logged in. inject: once both are on the
    mesh, talk, and their path is what it `meets` ("": whatever). joins: whether they log in at all."""

    name: str
    group: Group
    about: str
    views: tuple[View, ...]
    prove: Callable[[World], Proof]
    sites: Sites = TWO_HOMES
    before: Step = nothing
    setup: Step = nothing
    inject: Step = nothing
    meets: Literal["direct", "relay", ""] = "direct"
    joins: bool = True
    talks: bool = True
    relays: tuple[str, ...] = ("derp-a", "derp-b")

    @property
    def healthy(self) -> bool:
        return self.group == "healthy"


def seen_by_both(
    cause: str, theirs: str, *, names: tuple[str, ...] = (), mend_at: str = "", mend: tuple[str, ...] = ()
) -> tuple[View, ...]:
    """A fault on alice's side: what she hears about the pair, and what bob hears. Both are sent to the same machine."""
    return (
        View(ALICE, cause, BOB, names=names, mend_at=mend_at, mend=mend),
        View(BOB, theirs, ALICE, mend_at=mend_at, mend=mend),
    )
