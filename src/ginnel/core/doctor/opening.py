"""Which of two machines is the better one to open a port on, and what is to be done there.

Room: core. Pure. One open port is enough: whoever lets anybody in at an address that can be told is reached by the
other, whatever NAT that is behind (docs/nat-traversal.md, "answer").
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from ipaddress import ip_address, ip_network

from ginnel.core.doctor.causes import Fix
from ginnel.wire.doctor import Testimony

CARRIER_NAT = ip_network("100.64.0.0/10")
PRIVATE = [ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")]
OPEN = "ginnel firewall open"


class Place(IntEnum):
    """Where a machine stands, the easiest to open first."""

    PUBLIC = 0
    ONE_NAT = 1
    UNKNOWN = 2
    CARRIER = 3
    BLOCKED = 4


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two, with its name. `told`: its own testimony, not the map's word."""

    name: str
    known: Testimony
    told: bool = True

    @property
    def place(self) -> Place:
        if self.known.udp is False:
            return Place.BLOCKED
        if not self.told or not self.known.seen_v4:
            return Place.UNKNOWN
        if _host_of(self.known.seen_v4) in self.known.local:
            return Place.PUBLIC
        return Place.CARRIER if self._carrier() else Place.ONE_NAT

    def _carrier(self) -> bool:
        mapped = self.known.port_map
        outside = mapped is not None and bool(mapped.external) and _host_of(mapped.external)
        other = outside and outside != _host_of(self.known.seen_v4)
        behind = any(_is_inside(hop) for hop in self.known.hops[1:])
        return (mapped is not None and mapped.double_nat) or bool(other) or behind

    @property
    def closed(self) -> bool:
        """Its own firewall keeps uninvited packets out."""
        return self.known.firewall is not None and self.known.firewall.closed is True

    @property
    def ours(self) -> bool:
        return self.told

    @property
    def port(self) -> int:
        return self.known.port or 41641

    def fix(self) -> Fix:
        command = (self.known.firewall.opens if self.known.firewall is not None else "") or OPEN
        return Fix(self.name, command, self._on_the_router())

    def _on_the_router(self) -> str:
        if self.place not in (Place.ONE_NAT, Place.CARRIER):
            return ""
        router = self.known.port_map.router if self.known.port_map is not None else ""
        to = next((ip for ip in self.known.local if _is_lan(ip)), "this machine")
        named = f"its router ({router})" if router else "its router"
        forward = f"forward UDP port {self.port} to {to}, or switch UPnP or NAT-PMP on"
        if self.place is Place.CARRIER:
            return f"on {named} {forward}; the carrier's NAT before it must forward it too, which few do"
        return f"on {named} {forward}, unless it forwards that port already"


def better(own: Side, theirs: Side) -> Side:
    """The one that is easier to open: fewer NATs that others administer, then the one whose own firewall is known to
    stand in the way, then this machine, where somebody sits."""
    return min((own, theirs), key=lambda side: (side.place, not side.closed, side is not own))


def _host_of(endpoint: str) -> str:
    return endpoint.rpartition(":")[0].strip("[]")


def _is_inside(hop: str) -> bool:
    """A router that is not on the internet: behind our own one, there is another NAT."""
    try:
        ip = ip_address(hop)
    except ValueError:
        return False
    return ip.version == 4 and (ip in CARRIER_NAT or any(ip in network for network in PRIVATE))


def _is_lan(text: str) -> bool:
    ip = ip_address(text)
    return ip.version == 4 and any(ip in network for network in PRIVATE)
