"""The packets that a need is made of: the first one, what comes back, and what follows; as classes for the walk.

Room: core. A firewall that lets the question out and the answer not in has blocked the need.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from ginnel.core.firewall.lint.fields import (
    NFPROTO,
    NO_INTERFACE,
    OUTSIDE,
    PRIVATE,
    PUBLIC,
    STATES,
    TYPES,
    Box,
    Field,
    interface,
)
from ginnel.core.firewall.lint.ints import NONE, Ints, joined, point, span
from ginnel.core.firewall.lint.model import INWARD, OUTWARD, Hook
from ginnel.core.firewall.needs import Need
from ginnel.core.node.routing import MARK
from ginnel.words import IpAddress

Family = Literal[4, 6]
SYN, SYN_ACK, ACK = 2, 18, 16
ANY_PORT = span(1, 65535)
CLIENT_PORTS = span(1024, 65535)
OWN_MARKS = joined([(0, 0), (MARK, MARK)])
"""Of what the daemon's sockets send: it marks what must not go into its own tunnel."""


@dataclass(frozen=True, slots=True)
class Where:
    """What is known of the host. interface: by which it reaches the internet, "" unknown. local: its own addresses,
    () unknown."""

    interface: str = ""
    local: tuple[IpAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class Trip:
    """name: for people. inward: comes to this host. new: NAT sees it."""

    name: str
    family: Family
    inward: bool
    new: bool
    box: Box

    @property
    def hooks(self) -> tuple[Hook, ...]:
        return INWARD if self.inward else OUTWARD


def trips(need: Need, family: Family, where: Where, remote: Ints) -> list[Trip]:
    """remote: the addresses at the other end."""
    flow = _Flow(need, family, where, remote)
    inward = need.direction == "in"
    first = flow.trip("", inward=inward, state="new", flags=SYN)
    back = flow.trip("its answers", inward=not inward, state="established", flags=SYN_ACK)
    more = flow.trip("what follows", inward=inward, state="established", flags=ACK)
    return [replace(first, new=True), back, more]


def remotes(need: Need, family: Family) -> tuple[Ints, Ints]:
    """(the addresses that must be reached, those that would be well to reach: private ones)."""
    if not need.hosts:
        return PUBLIC[family], PRIVATE[family]
    return addresses((a for host in need.hosts for a in host.addresses), family), NONE


def addresses(all_of_them: Iterable[IpAddress], family: Family) -> Ints:
    return joined((int(a), int(a)) for a in all_of_them if a.version == family)


@dataclass(frozen=True, slots=True)
class _Flow:
    need: Need
    family: Family
    where: Where
    remote: Ints

    def trip(self, name: str, *, inward: bool, state: str, flags: int) -> Trip:
        own, theirs = self._ports()
        local = addresses(self.where.local, self.family) or joined([*PUBLIC[self.family], *PRIVATE[self.family]])
        outside = interface(self.where.interface) if self.where.interface else OUTSIDE
        saddr, daddr = (self.remote, local) if inward else (local, self.remote)
        sport, dport = (theirs, own) if inward else (own, theirs)
        v4 = self.family == 4
        box: Box = {
            Field.NFPROTO: point(NFPROTO[self.family]),
            Field.L4PROTO: point(6 if self.need.transport == "tcp" else 17),
            Field.SADDR4 if v4 else Field.SADDR6: saddr,
            Field.DADDR4 if v4 else Field.DADDR6: daddr,
            Field.SPORT: sport,
            Field.DPORT: dport,
            Field.IIF: outside if inward else NO_INTERFACE,
            Field.OIF: NO_INTERFACE if inward else outside,
            Field.CT_STATE: point(STATES[state]),
            Field.CT_DIRECTION: point(int(inward != (self.need.direction == "in"))),
            Field.TCP_FLAGS: point(flags),
            Field.MARK: point(0) if inward else OWN_MARKS,
            Field.PACKET_TYPE: point(0),
            Field.TO_TYPE: point(TYPES["local" if inward else "unicast"]),
            Field.FROM_TYPE: point(TYPES["unicast" if inward else "local"]),
        }
        if state == "new":
            box[Field.CT_MARK] = point(0)
        if not inward:
            box[Field.SOCKET_UID] = point(0)
        return Trip(name, self.family, inward, new=False, box=box)

    def _ports(self) -> tuple[Ints, Ints]:
        """(this host's, the other's)."""
        need = self.need
        if need.direction == "in":
            return point(need.port) if need.port else ANY_PORT, ANY_PORT
        own = point(need.source_port) if need.source_port else CLIENT_PORTS
        return own, point(need.port) if need.port else ANY_PORT
