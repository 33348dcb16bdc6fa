"""What each side sends, when, and from which of its side sockets, for each pair of NATs.

Room: core. Pure: schedules are generators of Shot, drawn one by one as the pace allows (punch.py).

fresh (easy - easy, where each NAT gives away the port of a mapping to an early packet from outside):

    A                       relay                        B
    |-- offer: a:pa --------->|-------------------------->|
    |                                   x-----------------|  opener: dies on the way, but B's NAT is open towards a:pa
    |<------------------------|<---------- answer: b:pb --|
    |-- ping ------------------------------------------->|  A's NAT is open too, nothing came too early: both direct

birthday (easy - random): the hard side opens SOCKETS mappings towards the easy side's one, which probes the hard side's
ports at random. After n probes a share of 1 - (1 - SOCKETS/PORTS)^n of searches has met.

predict (easy - sequential, sequential - sequential): the next mapping of a NAT is where the last one was, and a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from ginnel.core.node.punch_nat import Nat
from ginnel.wire.punch import NatKind
from ginnel.words import Endpoint

FIRST_PORT, LAST_PORT = 1024, 65535  # what NATs choose from
SOCKETS = (
    256  # of the hard side; a home router's table has room for thousands of mappings, a carrier's customer for 1000
)
SEARCH_LIMIT = 20.0  # seconds of a birthday search
GOES_DEEPER_AFTER = (8.0, 14.0)  # openers again, a hop further each: what is behind two NATs has to pass both
WINDOW = 8  # predicted ports that are tried
LISTEN = 1.2  # after the last shot
TTL_MAX = 255


class Technique(Enum):
    FRESH = auto()
    BIRTHDAY = auto()
    PREDICT = auto()


@dataclass(frozen=True, slots=True)
class Shot:
    """A disco ping `at` seconds after the start; one with a `ttl` is an opener, meant to die on the way."""

    at: float
    socket: int
    to: Endpoint
    ttl: int = 0


def technique(one: NatKind, other: NatKind) -> Technique | None:
    """None: hard against hard, where no number of packets that is decent would do."""
    match sorted((one, other)):
        case [NatKind.EASY, NatKind.EASY]:
            return Technique.FRESH
        case [NatKind.EASY | NatKind.SEQUENTIAL, NatKind.SEQUENTIAL]:
            return Technique.PREDICT
        case [NatKind.EASY, NatKind.RANDOM]:
            return Technique.BIRTHDAY
    return None


def at_port(nat: Nat, port: int) -> Endpoint:
    return Endpoint(nat.outside.ip, port)


def predicted(nat: Nat) -> list[int]:
    """Where the next mapping of this NAT will be, likeliest first."""
    if nat.kind is not NatKind.SEQUENTIAL:
        return [nat.outside.port]
    ports = (nat.outside.port + nat.delta * step for step in range(1, WINDOW + 1))
    return [port for port in ports if 0 < port <= LAST_PORT]


def opener(socket: int, theirs: Nat, ttl: int) -> list[Shot]:
    """The packet that opens our NAT towards the peer, before anything of the peer's may arrive."""
    return [Shot(0.0, socket, at_port(theirs, port), ttl) for port in predicted(theirs)[:1]]


def pings(socket: int, theirs: Nat, own: Nat) -> Iterator[Shot]:
    """All the way, to where the peer has opened: an easy side tries the whole window. A sequential side can aim once,
    as each further destination moves its own mapping."""
    ports = predicted(theirs) if own.kind is NatKind.EASY else predicted(theirs)[:1]
    for at in (0.0, 0.1, 0.3, 0.7):
        for port in ports:
            yield Shot(at, socket, at_port(theirs, port))


def late_pings(socket: int, theirs: Nat) -> Iterator[Shot]:
    """Of the side that opened: should its opener have died too early, the peer's ping has opened the other NAT."""
    for at in (0.5, 0.8, 1.1):
        for port in predicted(theirs)[:1]:
            yield Shot(at, socket, at_port(theirs, port))


def openers(sockets: Sequence[int], theirs: Nat, ttl: int) -> Iterator[Shot]:
    """The hard side of a birthday search."""
    for deeper, at in enumerate((0.0, *GOES_DEEPER_AFTER)):
        for socket in sockets:
            yield Shot(at, socket, theirs.outside, min(TTL_MAX, ttl + deeper) if ttl else 0)


def guesses(socket: int, theirs: Nat, entropy: Callable[[int], bytes]) -> Iterator[Shot]:
    """The easy side: the peer's ports in random order, none twice, for as long as the pace allows."""
    for port in shuffled(FIRST_PORT, LAST_PORT, entropy):
        yield Shot(0.0, socket, at_port(theirs, port))


def shuffled(first: int, last: int, entropy: Callable[[int], bytes]) -> Iterator[int]:
    """A random permutation, each step of which costs only what it needs (Fisher and Yates, on a sparse list)."""
    moved: dict[int, int] = {}
    for end in range(last, first - 1, -1):
        chosen = first + int.from_bytes(entropy(4), "big") % (end - first + 1)
        yield moved.get(chosen, chosen)
        moved[chosen] = moved.pop(end, end)
