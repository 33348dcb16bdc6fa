"""One mesh member's whole data-plane brain: peers and their paths, own endpoints, net checks, relays.

Room: core. Everything comes in by the methods below, with the time; what is to be done comes back as a list of
actions. No sockets, clocks, randomness or logs: entropy is a constructor argument.

Driving it: call `tick(now)` whenever `next_timeout()` has come, and after each batch of inputs; perform the actions
in their order. Every input is cheap for peers that are silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from ginnel.core.node.actions import Action, EndpointType
from ginnel.core.node.netcheck import Report
from ginnel.core.node.netmap import MapChange, NetMap
from ginnel.words import DiscoPrivate, Endpoint, Instant, IpAddress, NodeKey, NodePrivate, RegionId


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of an interface that is up. The shell leaves out the tunnel's own interface."""

    interface: str
    address: IPv4Interface | IPv6Interface


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A peer as `ginnel status` shows it.

    `cur_addr`: the endpoint in use while it is trusted, else None (traffic goes by the relay, perhaps by both).
    `relay`: code of its home region, "" if it has none. `active`: we sent to it within the last 45 s.
    """

    cur_addr: Endpoint | None
    relay: str
    region: RegionId
    active: bool
    latency: float | None
    last_sent: Instant | None
    last_received: Instant | None
    last_handshake: Instant | None
    candidates: tuple[Endpoint, ...]


@dataclass(frozen=True, slots=True)
class MeshStatus:
    home: RegionId
    home_code: str
    connected_regions: tuple[RegionId, ...]
    endpoints: tuple[tuple[Endpoint, EndpointType], ...]
    report: Report | None
    peers: dict[NodeKey, PeerStatus]


class Mesh:
    """See the module's docstring. All inputs return the actions that follow from them."""

    drops: dict[str, int]
    """Datagrams dropped, counted by reason, for example `disco.unknown_sender`."""

    def __init__(
        self,
        disco: DiscoPrivate,
        entropy: Callable[[int], bytes],
        *,
        static_endpoints: Sequence[Endpoint] = (),
        only_tcp_443: bool = False,
    ) -> None:
        """`disco` is new at every start of the process. `static_endpoints` are advertised as configured."""

    # --- what the server says ---

    def set_node_key(self, key: NodePrivate, now: Instant) -> list[Action]:
        """The node key in use from now on; a change redials the relays."""

    def map_changed(self, netmap: NetMap, change: MapChange, now: Instant) -> list[Action]:
        """A frame was merged: `netmap, change = apply_frame(netmap, frame, wall)` (netmap.py)."""

    def control_changed(self, connected: bool, now: Instant) -> list[Action]:
        """The map stream came up or went down: without it the home region stays as it is (peers would not learn)."""

    # --- the machine underneath ---

    def interfaces_changed(self, addresses: Sequence[LocalAddress], now: Instant) -> list[Action]:
        """All addresses of this machine, whenever they changed. Loopback and the tailnet's own are left out here."""

    def port_bound(self, v4: int, v6: int, configured: int, now: Instant) -> list[Action]:
        """The tunnel's sockets are bound to these ports (0: no such family); `configured` is the user's wish, 0: any.
        Comes at the start, and after each `Rebind`."""

    def link_changed(self, major: bool, now: Instant) -> list[Action]:
        """Major: the default route moved or a sleep of ten minutes ended; sockets are bound anew, paths proven anew.
        Minor: own addresses may differ."""

    def resolved(self, host: str, addresses: Sequence[IpAddress], now: Instant) -> list[Action]:
        """The answer to `Resolve`; empty: it failed."""

    # --- packets ---

    def disco_received(self, source: Endpoint, packet: bytes, now: Instant) -> list[Action]:
        """A disco datagram came by UDP."""

    def relayed_disco_received(self, region: RegionId, source: NodeKey, packet: bytes, now: Instant) -> list[Action]:
        """A disco packet came by a relay."""

    def stun_received(self, source: Endpoint, packet: bytes, now: Instant) -> list[Action]:
        """A datagram that looks like a STUN answer."""

    # --- what the pump notices ---

    def sent(self, peer: NodeKey, now: Instant) -> list[Action]:
        """The tunnel sent for this peer: the first time after 1 s of silence, then once a second."""

    def received(self, peer: NodeKey, by: Endpoint | RegionId, now: Instant) -> list[Action]:
        """Authentic data came from this peer by that endpoint or relay; as seldom as `sent`."""

    def handshake(self, peer: NodeKey, now: Instant) -> list[Action]:
        """A new WireGuard session stands."""

    def unsendable(self, to: Endpoint, errno: int, now: Instant) -> list[Action]:
        """A UDP send failed."""

    # --- relays ---

    def relay_wanted(self, region: RegionId, now: Instant) -> list[Action]:
        """A packet waits for a region that is not connected."""

    def relay_up(self, region: RegionId, now: Instant) -> list[Action]:
        """Logged in."""

    def relay_down(self, region: RegionId, why: str, now: Instant) -> list[Action]:
        """The connection ended, or could not be made."""

    def relay_gone(self, region: RegionId, peer: NodeKey, reason: int, now: Instant) -> list[Action]:
        """The relay says that the peer is not connected there."""

    def relay_health(self, region: RegionId, problem: str, now: Instant) -> list[Action]:
        """The relay says that it has a problem; "": no more."""

    def relay_restarting(self, region: RegionId, reconnect_in: float, try_for: float, now: Instant) -> list[Action]:
        """The relay will restart: seconds until to reconnect, seconds to keep trying."""

    # --- what people ask ---

    def ping_requested(self, id: int, peer: NodeKey, size: int, now: Instant) -> list[Action]:  # noqa: A002
        """`ginnel ping`: by every way at once while no direct one is trusted. Ends in `PingAnswered` (once, the
        first pong) or `PingFailed`. `size`: of the whole UDP payload, 0: as small as can be."""

    def netcheck_requested(self, id: int, now: Instant) -> list[Action]:  # noqa: A002
        """`ginnel netcheck`: a full report, ends in `NetcheckDone` within 5 s."""

    def latency_measured(self, region: RegionId, seconds: float | None, now: Instant) -> list[Action]:
        """The answer to `MeasureHttps`; None: it failed."""

    # --- time and views ---

    def tick(self, now: Instant) -> list[Action]:
        """Whatever is due."""

    def next_timeout(self) -> Instant | None:
        """When to call `tick` next; None: nothing is planned."""

    def status(self, now: Instant) -> MeshStatus:
        """A view of everything, for `ginnel status`."""

    def peer_status(self, peer: NodeKey, now: Instant) -> PeerStatus | None:
        """One peer's view; None: not in the map."""
