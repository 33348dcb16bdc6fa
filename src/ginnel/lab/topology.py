"""What a network looks like, as data: routers, hosts, and which hangs on which.

Room: lab. Nothing here touches the kernel; `plan` turns it into addresses and commands.

            observer   server            CORE: 203.0.113.0/24, public servers
                 |       |
        +--------+-------+--------+
        |        internet         |      three hops between any two sites, so that a TTL can die on the way
        +--+---------+---------+--+
           |         |         |         198.18.n.0/30 between routers
         edge0     edge1     edge2       each site's access router
           |         |         |         a /30 for each site, 198.51.100.0/24 and 192.0.2.0/24 in turn
        router    router      host
           |         |
          LAN     router                 a carrier's NAT, 100.64.n.0/24 behind it
                     |
                    LAN                  192.168.n.0/24

Where any site has IPv6, so has the core, 2001:db8::/64, and each such site a 2001:db8:n::/48.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Literal

INTERNET = "internet"  # the router in the middle; what hangs on it has a public address and an access router before it
CORE = "core"  # the servers' segment
OBSERVER = "observer"  # always there: two addresses from which NATs are probed
EDGE = re.compile(r"edge[0-9]*\Z")  # access routers are no part of a topology
NAME = re.compile(r"[a-z][a-z0-9-]{0,12}\Z")  # 13 characters: `p-NAME` must fit an interface name


Family = Literal[4, 6]
MappingProtocol = Literal["nat-pmp", "pcp", "upnp"]


@dataclass(frozen=True, slots=True)
class Opened:
    """A UDP port of a router's public address that is forwarded to a host behind it."""

    port: int
    host: str


@dataclass(frozen=True, slots=True)
class Router:
    """A box with an outside (`wan0`) and an inside (`lan0`); `nat` names its rules in `nats`.

    maps_by: the one protocol by which its hosts may have a port forwarded to them. families: of its outside and its
    inside; IPv6 is routed, and a stateful firewall lets in only answers.
    """

    name: str
    nat: str
    uplink: str = INTERNET
    carrier: bool = False  # its inside is 100.64.n.0/24, as carriers have it
    hairpin: bool = False
    opened: tuple[Opened, ...] = ()
    maps_by: MappingProtocol | None = None
    families: tuple[Family, ...] = (4,)


@dataclass(frozen=True, slots=True)
class Host:
    """A machine with one interface (`eth0`) on a router's LAN, on a link of its own to the internet, or in the core."""

    name: str
    on: str = INTERNET
    default_deny: bool = False  # a firewall on the host itself: nothing comes in that was not asked for
    families: tuple[Family, ...] = (4,)


@dataclass(frozen=True, slots=True)
class Topology:
    """Routers stand before the routers and hosts that hang on them."""

    routers: tuple[Router, ...] = ()
    hosts: tuple[Host, ...] = ()
    links: tuple[tuple[str, str], ...] = field(init=False)  # (below, above)

    def __post_init__(self) -> None:
        above = [INTERNET, CORE]
        links: list[tuple[str, str]] = []
        for name, uplink in [(r.name, r.uplink) for r in self.routers] + [(h.name, h.on) for h in self.hosts]:
            if not NAME.match(name) or EDGE.match(name) or name in (*above, OBSERVER, *(below for below, _ in links)):
                raise ValueError(f"{name!r} is no fresh name for a lab: want [a-z][a-z0-9-]*, at most 13 characters")
            if uplink not in above:
                raise ValueError(f"{name} hangs on {uplink}, which does not stand before it")
            links.append((name, uplink))
            if any(name == router.name for router in self.routers):
                above.append(name)
        object.__setattr__(self, "links", tuple(links))

    @property
    def has_v6(self) -> bool:
        return any(6 in router.families for router in self.routers) or any(6 in host.families for host in self.hosts)

    def path_to_internet(self, name: str) -> list[str]:
        """The routers between a host and the internet, nearest first."""
        uplinks = dict(self.links)
        path: list[str] = []
        while (name := uplinks[name]) not in (INTERNET, CORE):
            path.append(name)
        return path

    def edge(self, name: str) -> str:
        """What of a host's site touches the internet: its outermost router, or the host itself."""
        return (self.path_to_internet(name) or [name])[-1]
