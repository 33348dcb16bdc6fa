"""Views of a mesh member for `ginnel status` and the local API.

Room: core. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.node.actions import EndpointType
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.own_network import OwnNetwork
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.paths import Direct
from ginnel.core.node.peers import Peer, PeerTable
from ginnel.core.node.relays import Relays
from ginnel.words import Endpoint, Instant, NodeKey, RegionId


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


def peer_status(peer: Peer, relays: Relays, now: Instant) -> PeerStatus:
    path = peer.path
    trusted = path.trusted(now)
    return PeerStatus(
        cur_addr=path.endpoint if trusted else None,
        relay=relays.code(peer.home),
        region=peer.home,
        active=path.active(now),
        latency=path.path.proven.latency if trusted and isinstance(path.path, Direct) else None,
        last_sent=_known(path.last_sent),
        last_received=_known(path.last_received),
        last_handshake=_known(peer.last_handshake),
        candidates=tuple(path.candidates),
    )


def mesh_status(relays: Relays, own: OwnNetwork, peers: PeerTable, now: Instant) -> MeshStatus:
    return MeshStatus(
        home=relays.home,
        home_code=relays.code(relays.home),
        connected_regions=relays.connected(),
        endpoints=own.list,
        report=own.report,
        peers={peer.key: peer_status(peer, relays, now) for peer in peers},
    )


def _known(at: Instant) -> Instant | None:
    return None if at == NEVER else at
