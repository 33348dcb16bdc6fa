"""Whether two machines can have a direct path at all: by reasoning from what their networks are, not by trying.

Room: testing. The rule (RFC 4787's terms): a chain of NATs maps as its worst member does and filters as its strictest;
a pair is direct if and only if one side admits the other's real mapping, on some plane where both can be addressed: a
network they share, the internet, or IPv6.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from ginnel.testing.nat import Depends, Nat, Udp
from ginnel.testing.network import Host

STRICTNESS = [Depends.NOTHING, Depends.ADDRESS, Depends.ADDRESS_AND_PORT]


class Verdict(Enum):
    """EITHER: only by luck or by a technique for NATs whose mapping the other side cannot know."""

    DIRECT = "direct"
    EITHER = "direct or relayed"
    RELAYED = "relayed"


@dataclass(frozen=True, slots=True)
class Side:
    """One machine as a plane sees it. `maps`: on what its mapping depends. `named`: the plane knows an address of it,
    its own or what STUN saw. `opened`: anybody may come in by an address that it names."""

    maps: Depends
    filters: Depends
    named: bool
    opened: bool

    def admits(self, other: Side) -> bool:
        """Whether packets from the other's real source reach us at an address that we name."""
        if self.opened:
            return True
        if not self.named or self.maps is not Depends.NOTHING:
            return False
        match self.filters:
            case Depends.NOTHING:
                return True
            case Depends.ADDRESS:
                return other.named
            case Depends.ADDRESS_AND_PORT:
                return other.named and other.maps is Depends.NOTHING


def verdict(a: Host, b: Host) -> Verdict:
    if _possible(a, b, guess=False):
        return Verdict.DIRECT
    return Verdict.EITHER if _possible(a, b, guess=True) else Verdict.RELAYED


def _possible(a: Host, b: Host, *, guess: bool) -> bool:
    """`guess`: as if a mapping that depends on the destination could be foretold."""
    if a.v6 is not None and b.v6 is not None:
        return True  # nothing maps there, and a firewall lets in what it was asked for
    if a.v4 is None or b.v4 is None:
        return False
    shared = [plane for plane in _planes(a) if plane in _planes(b)]
    return any(_meet(a, b, plane, shared[0], guess=guess) for plane in shared)


def _meet(a: Host, b: Host, plane: Nat | None, nearest: Nat | None, *, guess: bool) -> bool:
    """`nearest`: the smallest network that both are in. Beyond it they meet only where a NAT lets its own in again."""
    one, other = _side(a, plane, guess=guess), _side(b, plane, guess=guess)
    if one is None or other is None:
        return False
    if plane is not nearest and not _below(a, plane)[-1].kind.hairpin:
        return False
    return one.admits(other) or other.admits(one)


def _planes(host: Host) -> list[Nat | None]:
    """The networks that a host is in, as the NAT in front of each; None: the internet."""
    planes: list[Nat | None] = []
    nat = host.nat
    while nat is not None:
        planes.append(nat)
        nat = nat.upstream
    return [*planes, None]


def _below(host: Host, plane: Nat | None) -> list[Nat]:
    """The NATs between the host and that network."""
    planes = _planes(host)
    return [nat for nat in planes[: planes.index(plane)] if nat is not None]


def _side(host: Host, plane: Nat | None, *, guess: bool) -> Side | None:
    """None: nothing gets there."""
    nats = _below(host, plane)
    if any(nat.kind.udp is not Udp.OPEN for nat in nats):
        return None
    maps = [Depends.NOTHING if guess else nat.kind.mapping for nat in nats]
    filters = [nat.kind.filtering for nat in nats]
    if host.firewall.stateful:
        filters.append(Depends.ADDRESS_AND_PORT)
    ports = {(host.v4, port) for port in host.sockets}
    forwarded = len(nats) == 1 and any((to.ip, to.port) in ports for to in nats[0].forwards.values())
    return Side(
        maps=max(maps, key=STRICTNESS.index, default=Depends.NOTHING),
        filters=max(filters, key=STRICTNESS.index, default=Depends.NOTHING),
        named=not nats or plane is None,
        opened=forwarded and plane is None and not host.firewall.stateful,
    )
