"""How a pair looks: who is at which end, behind what NAT, and whether it is too early to say.

Room: core. Pure.
"""

from __future__ import annotations

from enum import Enum

from ginnel.core.doctor.causes import Fix
from ginnel.core.doctor.evidence import Pair, Source
from ginnel.core.doctor.opening import Side, better
from ginnel.wire.doctor import Testimony

SEARCH_TIME = 25.0
"""Seconds in which a search through a hard NAT ends (docs/nat-traversal.md: 20 s); before that nobody is to blame."""


def is_direct(pair: Pair) -> bool:
    return bool(pair.ping.direct) or (bool(pair.own.direct) and meets(pair))


def meets(pair: Pair) -> bool:
    """A way that the daemon calls direct and by which nothing comes back is none."""
    return pair.ping.answered or pair.source is Source.TUNNEL


def still_searching(pair: Pair) -> bool:
    """Too early to say: a direct path is looked for, and may be found."""
    ends = [pair.own, *([pair.theirs] if pair.theirs is not None else [])]
    if any(one.udp is False or one.policy == "relay" for one in ends):
        return False
    return pair.own.searching is not None and pair.own.searching < SEARCH_TIME and pair.own.search_ended != "hopeless"


def own_side(pair: Pair) -> Side:
    return Side(pair.host.name, pair.own, here=True)


def their_side(pair: Pair) -> Side:
    known = pair.theirs if pair.theirs is not None else Testimony()
    told = pair.theirs is not None and pair.source is not Source.MAP
    return Side(pair.peer.name, known, told=told, ours=pair.peer.ours, system=pair.peer.system)


def open_fix(pair: Pair) -> Fix:
    return better(own_side(pair), their_side(pair)).fix()


def said_by_map(pair: Pair) -> str:
    return "" if pair.source is not Source.MAP else f" (from {pair.source}: {pair.silence or 'it says nothing itself'})"


class Nat(Enum):
    """What a NAT does, in words for people."""

    EASY = "an easy NAT (one port for all destinations)"
    SEQUENTIAL = "a hard NAT (the next port for each destination)"
    RANDOM = "a hard NAT (another port for each destination)"
    UNKNOWN = "a NAT of unknown kind"

    @property
    def hard(self) -> bool:
        return self in (Nat.SEQUENTIAL, Nat.RANDOM)


def kind_of(known: Testimony, told: str = "unknown") -> Nat:
    """told: what the other end learnt of it. The search's own look is the best; net checks need two STUN addresses."""
    for kind in (known.nat, told):
        if kind in ("easy", "sequential", "random"):
            return Nat[kind.upper()]
    if known.varies is not None:
        return Nat.RANDOM if known.varies else Nat.EASY
    port = known.seen_v4.rpartition(":")[2]
    return Nat.EASY if port and port == str(known.port) else Nat.UNKNOWN


def hard_here(pair: Pair) -> bool:
    return kind_of(pair.own).hard


def hard_there(pair: Pair) -> bool:
    return pair.theirs is not None and kind_of(pair.theirs, pair.own.peer_nat).hard
