"""What the port mapper asks of its shell, and what passes between it and a protocol. Plain values.

Room: core.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address

from ginnel.wire.upnp import SoapRequest
from ginnel.words import Endpoint


class Protocol(StrEnum):
    """In the words that `netcheck` prints."""

    PCP = "PCP"
    NATPMP = "NAT-PMP"
    UPNP = "UPnP"


@dataclass(frozen=True, slots=True)
class Gateway:
    """The default route of IPv4: its interface, our address there, and the router's."""

    interface: str
    own: IPv4Address
    address: IPv4Address


# --- for the shell ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SendPortmap:
    """Send from the interface of the gateway; answers go to `PortMapper.received` (port 5351) or `.found` (1900)."""

    to: Endpoint
    packet: bytes


@dataclass(frozen=True, slots=True)
class FetchPortmap:
    """`GET http://<gateway>:<port><path>`, or `POST` where `soap` is given, without redirects, at most 64 KiB and
    2 s; answer with `PortMapper.fetched`."""

    number: int
    gateway: IPv4Address
    port: int
    path: str
    soap: SoapRequest | None = None


@dataclass(frozen=True, slots=True)
class PortMapped:
    """News for the mesh: where the outside reaches us (None: nowhere), and which protocols the router speaks (None:
    not known)."""

    external: Endpoint | None = None
    upnp: bool | None = None
    pmp: bool | None = None
    pcp: bool | None = None


PortmapAction = SendPortmap | FetchPortmap | PortMapped

# --- from a protocol to the mapper -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Granted:
    """The router says so; whether it makes sense is judged by the mapper. `lifetime`: seconds."""

    external: IPv4Address
    port: int
    lifetime: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """The router still knows the mapping that is held."""


@dataclass(frozen=True, slots=True)
class Failed:
    """This protocol does not get there; `why` is part of a line for people."""

    why: str


Step = SendPortmap | FetchPortmap | Granted | Confirmed | Failed
