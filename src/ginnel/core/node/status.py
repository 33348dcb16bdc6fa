"""Views of a mesh member for `ginnel status` and the local API.

Room: core. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.node.actions import EndpointType
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.own_network import OwnNetwork
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.path_policy import PathPolicy
from ginnel.core.node.path_state import Direct
from ginnel.core.node.peers import Peer, PeerTable
from ginnel.core.node.relays import Relays
from ginnel.core.node.shunned import Fault
from ginnel.words import Endpoint, Instant, NodeKey, RegionId


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """A peer as `ginnel status` shows it.

    `cur_addr`: the endpoint in use while nothing speaks against it, else None (traffic goes by the relay, perhaps by
    both). `wire_mtu`: of the largest packet that is proven to get there, 0: unknown. `shunned`: endpoints that answer
    and are not used for a while, and why.
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
    policy: PathPolicy = PathPolicy.AUTO
    wire_mtu: int = 0
    shunned: tuple[tuple[Endpoint, Fault], ...] = ()


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
    found = path.path.proven if path.direct(now) and isinstance(path.path, Direct) else None
    return PeerStatus(
        cur_addr=found.endpoint if found else None,
        relay=relays.code(peer.home),
        region=peer.home,
        active=path.active(now),
        latency=found.latency if found else None,
        last_sent=_known(path.last_sent),
        last_received=_known(path.last_received),
        last_handshake=_known(peer.last_handshake),
        candidates=tuple(path.candidates),
        policy=path.policy,
        wire_mtu=found.wire_mtu if found else 0,
        shunned=tuple((endpoint, held.fault) for endpoint, held in path.shunned.each(now)),
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
