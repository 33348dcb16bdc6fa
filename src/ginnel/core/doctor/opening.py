"""Which of two machines is the better one to open a port on, and what is to be done there.

Room: core. Pure. One open port is enough: whoever lets anybody in at an address that can be told is reached by the
other, whatever NAT that is behind (docs/nat-traversal.md, "answer").
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from ipaddress import IPv4Address, IPv4Network, ip_address

from ginnel.core.doctor.causes import Fix
from ginnel.wire.doctor import Testimony
from ginnel.words import IpAddress

CARRIER_NAT = IPv4Network("100.64.0.0/10")
PRIVATE = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))
TUNNEL_PORT = 41641
OPEN = "sudo ginnel firewall open"
BY_BACKEND = {
    "ufw": "sudo ufw allow {port}/udp",
    "firewalld": "sudo firewall-cmd --add-port={port}/udp && sudo firewall-cmd --permanent --add-port={port}/udp",
}
"""What one command of the firewall's own does, by the names of core/firewall/backends.py; else ours finds the place."""
BY_SYSTEM = {
    "windows": "netsh advfirewall firewall add rule name=udp-{port} dir=in action=allow protocol=UDP localport={port}"
}
IN_WORDS = {
    "windows": "as an administrator",
    "macos": "if its firewall is on: System Settings, Network, Firewall, Options: let Tailscale's connections in",
    "linux": "if it has a firewall: let UDP port {port} in (with ufw: `sudo ufw allow {port}/udp`)",
}
"""For machines that run the official client: `ginnel` is not there. Names of systems: tailscale: version/distro, Go's
GOOS as Hostinfo has it."""


class Place(IntEnum):
    """Where a machine stands, the easiest to open first."""

    PUBLIC = 0
    ONE_NAT = 1
    UNKNOWN = 2
    CARRIER = 3
    BLOCKED = 4


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two, with its name. `told`: its own testimony, not the map's word. `here`: this machine. `ours`: it
    runs ginnel. `system`: its operating system, "" where that is not known."""

    name: str
    known: Testimony
    told: bool = True
    here: bool = False
    ours: bool = True
    system: str = ""

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
        """Proven: by the router's own outside address, or by one of a carrier's on the way."""
        mapped = self.known.port_map
        if mapped is not None and mapped.external:
            return mapped.double_nat or self._outside != _host_of(self.known.seen_v4)
        return (mapped is not None and mapped.double_nat) or any(_in(hop, (CARRIER_NAT,)) for hop in self._beyond)

    @property
    def maybe_carrier(self) -> bool:
        """Routers of a provider or a company have private addresses too, without translating any."""
        return self.place is Place.ONE_NAT and not self._outside and any(map(_is_lan, self._beyond))

    @property
    def _outside(self) -> str:
        mapped = self.known.port_map
        return _host_of(mapped.external) if mapped is not None and mapped.external else ""

    @property
    def _beyond(self) -> tuple[str, ...]:
        """The routers behind the first."""
        return self.known.hops[1:]

    @property
    def closed(self) -> bool:
        """Its own firewall keeps uninvited packets out."""
        return self.known.firewall is not None and self.known.firewall.closed is True

    @property
    def port(self) -> int:
        return self.known.port or TUNNEL_PORT

    def fix(self) -> Fix:
        return Fix(self.name, self._command(), "; ".join(filter(None, (self._in_words(), self._on_the_router()))))

    def _command(self) -> str:
        """Made here: no text of another machine's becomes a command."""
        firewall = self.known.firewall
        if not self.ours:
            return BY_SYSTEM.get(self.system.lower(), "").format(port=self.port)
        if self.here and firewall is not None and firewall.opens:
            return firewall.opens
        backend = firewall.backend if firewall is not None else ""
        return BY_BACKEND.get(backend, OPEN).format(port=self.port)

    def _in_words(self) -> str:
        return "" if self.ours else IN_WORDS.get(self.system.lower(), "let UDP port {port} in").format(port=self.port)

    def _on_the_router(self) -> str:
        if self.place not in (Place.ONE_NAT, Place.CARRIER):
            return ""
        router = self.known.port_map.router if self.known.port_map is not None else ""
        to = next((ip for ip in self.known.local if _is_lan(ip)), "this machine")
        named = f"its router ({router})" if _address(router) is not None else "its router"
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


def _address(text: str) -> IpAddress | None:
    """Texts of peers are anything."""
    try:
        return ip_address(text)
    except ValueError:
        return None


def _is_lan(text: str) -> bool:
    return _in(text, PRIVATE)


def _in(text: str, networks: Iterable[IPv4Network]) -> bool:
    ip = _address(text)
    return isinstance(ip, IPv4Address) and any(ip in network for network in networks)
