"""The nouns: a host that machines talk to, and a need: one thing that a firewall must let through.

Room: core. What a DERP map, a policy or DNS says is hostile until `hosts.py` has looked at it: a `Host` holds names of
letters, digits, dots and hyphens alone, and addresses that are no one's own or private ones unless the user allowed
them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from ginnel.words import IpAddress

Transport = Literal["tcp", "udp"]
Direction = Literal["out", "in"]
Profile = Literal["recommended", "pinned"]


class Role(StrEnum):
    """What a host is to the mesh."""

    CONTROL = "control"
    LOGIN = "login"
    LOG = "log"
    RELAY = "relay"


class Level(StrEnum):
    """How a firewall can use a name. SNI: clients put it into TLS; L3: it stands for addresses alone (`derpN-all`)."""

    L3 = "L3"
    SNI = "SNI"


class Stability(StrEnum):
    """How often an entry changes: coordination hosts seldom, relays from time to time without notice."""

    SLOW = "slow"
    FAST = "fast"


@dataclass(frozen=True, slots=True)
class Service:
    """One port of a host: 443/tcp, 3478/udp, 80/tcp, or what the map says instead."""

    transport: Transport
    port: int

    def __str__(self) -> str:
        return f"{self.port}/{self.transport}"


@dataclass(frozen=True, slots=True)
class Host:
    """One line of an allowlist. name: lower-case FQDN without a final dot, "" where there are addresses alone.
    addresses: what the map or DNS gave, sorted, IPv4 first. region: of a relay, else 0. node: a relay's name in the
    map ("901a"), "" for a region's `-all` name. breaks: what a user sees when it is blocked."""

    name: str
    level: Level
    role: Role
    services: tuple[Service, ...]
    addresses: tuple[IpAddress, ...] = ()
    stability: Stability = Stability.SLOW
    region: int = 0
    region_code: str = ""
    node: str = ""
    needed_for: str = ""
    breaks: str = ""


@dataclass(frozen=True, slots=True)
class Need:
    """One row of the plan. source_port: the daemon's own (None: any). port: the destination's (None: any).
    hosts: () means anywhere, else these alone (the pinned profile). families: 4, 6 or both."""

    id: str
    direction: Direction
    transport: Transport
    source_port: int | None
    port: int | None
    hosts: tuple[Host, ...] = ()
    families: tuple[Literal[4, 6], ...] = (4, 6)
    optional: bool = False
    why: str = ""
    breaks: str = ""
    looks_like: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a format renders. source: where the facts are from, for a comment ("daemon", "https://...", a file).
    warnings: lines that must stand beside the rules; for the pinned profile the one about pinning comes first.
    refresh_by: RFC 3339 date after which pinned rules are stale, "" for recommended.
    again: the options by which another command means the same mesh, as a shell reads them."""

    profile: Profile
    needs: tuple[Need, ...]
    source: str
    warnings: tuple[str, ...] = ()
    refresh_by: str = ""
    again: str = ""
