"""What a mesh member's core asks of its shell. Plain values: the shell performs them, a test compares them.

Room: core. The first group maps one to one onto the methods of `Pump` (_native.pyi); the second is for the shell.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from ginnel.words import Endpoint, IpAddress, NodeKey, RegionId

if TYPE_CHECKING:
    from ginnel.core.node.netcheck_report import Report
    from ginnel.wire.tailcfg import NetInfo

# --- for the pump ----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class SetPeer:
    """Add a peer, or change what it may send and is sent."""

    peer: NodeKey
    allowed_ips: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ResetPeer:
    """The peer restarted: its WireGuard sessions are dead, a new one is wanted at once if there was any."""

    peer: NodeKey


@dataclass(frozen=True, slots=True)
class AskInside:
    """Ping the peer inside the tunnel, from our address to its, by the direct way alone: `Pump.ask_inside`."""

    peer: NodeKey
    source: str
    to: str


@dataclass(frozen=True, slots=True)
class RemovePeer:
    peer: NodeKey


NEVER_BY_RELAY = RegionId(0xFFFF_FFFF)
"""The region of a `Steer` that forbids relays even to answers, which else go back the way that the question came."""

NEVER_BY_UDP = 0xFFFF_FFFF
"""The socket of a `Steer` that forbids UDP likewise."""


@dataclass(frozen=True, slots=True)
class Steer:
    """Send this peer's packets to the endpoint, and by the region's relay too where `region` is not 0. `socket`: the
    one that reaches the endpoint; 0: the tunnel's own."""

    peer: NodeKey
    endpoint: Endpoint | None
    region: RegionId
    socket: int = 0


@dataclass(frozen=True, slots=True)
class SetAddresses:
    """The prefixes this node receives for."""

    prefixes: tuple[str, ...]


FilterRow = tuple[tuple[str, ...], tuple[tuple[str, int, int], ...], tuple[int, ...]]
"""(source prefixes or ranges, (destination, first port, last port)..., IP protocols)."""


@dataclass(frozen=True, slots=True)
class SetFilter:
    """Replace the packet filter. No row at all lets nothing in."""

    rows: tuple[FilterRow, ...]


@dataclass(frozen=True, slots=True)
class SendUdp:
    """Send a disco or STUN packet from the tunnel's own socket, or from the side socket of that number. `ttl`: hops
    that it may go, 0: the system's; only from a side socket."""

    to: Endpoint
    packet: bytes
    socket: int = 0
    ttl: int = 0


@dataclass(frozen=True, slots=True)
class OpenSides:
    """Open so many side sockets; answer with `Mesh.sides_opened`, fewer or none if they cannot be had."""

    request: int
    count: int


@dataclass(frozen=True, slots=True)
class CloseSides:
    """Close these side sockets."""

    sockets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SendRelay:
    """Send a disco packet by a region's relay."""

    region: RegionId
    to: NodeKey
    packet: bytes


@dataclass(frozen=True, slots=True)
class RelayOpen:
    """Dial one relay of a region: `Pump.relay_open(region, server_name, addresses, verify)`."""

    region: RegionId
    server_name: str
    addresses: tuple[Endpoint, ...]
    verify: str


@dataclass(frozen=True, slots=True)
class RelayMove:
    """The same for a region that is connected, which carries on until this one is logged in: `Pump.relay_move`."""

    region: RegionId
    server_name: str
    addresses: tuple[Endpoint, ...]
    verify: str


@dataclass(frozen=True, slots=True)
class RelayClose:
    region: RegionId


@dataclass(frozen=True, slots=True)
class RelayPrefer:
    """The home region; 0: none."""

    region: RegionId


# --- for the shell ---------------------------------------------------------------------------------------------


class EndpointType(IntEnum):
    """How an endpoint of ours was found (tailscale: tailcfg.EndpointType)."""

    UNKNOWN = 0
    LOCAL = 1
    STUN = 2
    PORTMAPPED = 3
    STUN_WITH_LOCAL_PORT = 4
    EXPLICIT = 5


@dataclass(frozen=True, slots=True)
class ReportToControl:
    """Send a lite update. The lists run in parallel. A later report replaces an unsent earlier one."""

    net_info: NetInfo
    endpoints: tuple[Endpoint, ...]
    types: tuple[EndpointType, ...]


@dataclass(frozen=True, slots=True)
class Resolve:
    """Look the host name up, both families; answer with `Mesh.resolved` (no address: it failed)."""

    host: str


@dataclass(frozen=True, slots=True)
class MeasureHttps:
    """Time `GET https://<server_name>/derp/latency-check` (the request alone, not the connection), 2 s at most;
    answer with `Mesh.latency_measured`. `verify` is as in `RelayOpen`."""

    region: RegionId
    server_name: str
    addresses: tuple[Endpoint, ...]
    verify: str


@dataclass(frozen=True, slots=True)
class MeasureIcmp:
    """Time one ICMP echo with this payload, 1 s at most; answer with `Mesh.icmp_measured`, also where the system does
    not let us."""

    region: RegionId
    address: IPv4Address
    payload: bytes


@dataclass(frozen=True, slots=True)
class AskPort80:
    """`generate204.request(address, challenge)` to TCP port 80, 3 s at most; answer with `Mesh.port80_answered`:
    the first generate204.ANSWER_LIMIT bytes, or b""."""

    number: int
    address: IpAddress
    challenge: str


@dataclass(frozen=True, slots=True)
class CallByServer:
    """The relay where the peer listens cannot be reached, so no call-me-maybe gets there: the server may have the peer
    look for us (docs/protocol/doctor.md). Nothing is answered."""

    peer: NodeKey


@dataclass(frozen=True, slots=True)
class Rebind:
    """Bind both UDP sockets anew, to `port` if that can be had (0: any); answer with `Mesh.port_bound`."""

    port: int


@dataclass(frozen=True, slots=True)
class PingAnswered:
    """A pong for `Mesh.ping_requested`: from `endpoint`, or by the relay of `region` when that is None."""

    id: int
    peer: NodeKey
    latency: float
    endpoint: Endpoint | None
    region: RegionId


@dataclass(frozen=True, slots=True)
class PingFailed:
    """No pong within 5 s, or the peer cannot be pinged; `reason` is one line."""

    id: int
    peer: NodeKey
    reason: str


@dataclass(frozen=True, slots=True)
class NetcheckDone:
    """The report that `Mesh.netcheck_requested` asked for."""

    id: int
    report: Report


class HealthCode(StrEnum):
    """Tailscale's warnable codes where it has one."""

    NO_DERP_HOME = "no-derp-home"
    NO_DERP_CONNECTION = "no-derp-connection"
    NO_UDP4_BIND = "no-udp4-bind"
    DERP_PROBLEM = "derp-problem"
    BAD_MAP = "bad-map"
    CAPTIVE_PORTAL = "captive-portal-detected"
    HOST_FIREWALL = "host-firewall"


@dataclass(frozen=True, slots=True)
class Health:
    """A line for people under `status`, or None: healthy again."""

    code: HealthCode
    text: str | None


Action = (
    SetPeer
    | ResetPeer
    | AskInside
    | RemovePeer
    | Steer
    | SetAddresses
    | SetFilter
    | SendUdp
    | OpenSides
    | CloseSides
    | SendRelay
    | RelayOpen
    | RelayMove
    | RelayClose
    | RelayPrefer
    | ReportToControl
    | Resolve
    | MeasureHttps
    | MeasureIcmp
    | AskPort80
    | CallByServer
    | Rebind
    | PingAnswered
    | PingFailed
    | NetcheckDone
    | Health
)
