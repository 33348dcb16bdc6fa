"""The net map: the first frame of the map stream and every delta after it, merged (tailscale: tailcfg.MapResponse).

Room: core. Frames come in as messages; what comes out is a new map and what differs. An error is never an empty
result: members that are absent change nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ginnel.core.node.netmap_merge import (
    has_expired,
    marked,
    merge_derp_map,
    merge_filters,
    merge_peers,
    touched_peers,
)
from ginnel.wire.tailcfg import DERPMap, DNSConfig, FilterRule, MapResponse, Node, UserProfile, wall_time
from ginnel.words import WallTime


class BadMap(Exception):
    """The first frame of a stream does not say who we are; the map before it stays in force."""


@dataclass(frozen=True, slots=True)
class NetMap:
    """Everything the server has said so far. `filters`: name -> rules; all of them together are the filter."""

    self_node: Node | None = None
    peers: Mapping[int, Node] = field(default_factory=dict)
    derp_map: DERPMap = field(default_factory=DERPMap)
    dns: DNSConfig | None = None
    domain: str = ""
    filters: Mapping[str, tuple[FilterRule, ...]] = field(default_factory=dict)
    users: Mapping[int, UserProfile] = field(default_factory=dict)
    health: tuple[str, ...] = ()
    collect_services: bool | None = None

    def rules(self) -> tuple[FilterRule, ...]:
        return tuple(rule for name in sorted(self.filters) for rule in self.filters[name])


@dataclass(frozen=True, slots=True)
class MapChange:
    """What one frame changed; nodes are peers, `changed` holds (before, after). False when nothing did."""

    added: tuple[Node, ...] = ()
    removed: tuple[Node, ...] = ()
    changed: tuple[tuple[Node, Node], ...] = ()
    self_node: bool = False
    filters: bool = False
    dns: bool = False
    derp_map: bool = False
    users: bool = False
    health: bool = False
    domain: bool = False

    def __bool__(self) -> bool:
        return self != MapChange()


def first_frame(before: NetMap, frame: MapResponse, wall: WallTime) -> tuple[NetMap, MapChange]:
    """The first frame of a new stream: what it does not name is gone, except for the DERP map, without which
    nobody could be reached. Raises BadMap when it lacks the node itself."""
    if frame.node is None:
        raise BadMap("the server's first map does not hold this node; reopening the stream")
    start = NetMap(derp_map=before.derp_map)
    after = _merged(start, frame, wall)
    return after, _difference(before, after, {*before.peers, *after.peers})


def apply_frame(before: NetMap, frame: MapResponse, wall: WallTime) -> tuple[NetMap, MapChange]:
    """A later frame. `wall` is now: for peers seen now and keys expired by now."""
    if frame.keep_alive:
        return before, MapChange()
    after = _merged(before, frame, wall)
    touched = {*before.peers, *after.peers} if frame.peers else touched_peers(frame)
    return after, _difference(before, after, touched)


def expire_keys(before: NetMap, wall: WallTime) -> tuple[NetMap, MapChange]:
    """Mark the peers whose key has expired by now; call it at `next_expiry`."""
    due = {number for number, node in before.peers.items() if not node.expired and has_expired(node, wall)}
    peers = {number: marked(node, wall) if number in due else node for number, node in before.peers.items()}
    after = replace(before, peers=peers)
    return after, _difference(before, after, due)


def next_expiry(netmap: NetMap) -> WallTime | None:
    """When the next peer's key expires; None: none will."""
    times = (wall_time(node.key_expiry) for node in netmap.peers.values() if not node.expired)
    return min((time for time in times if time is not None), default=None)


def _merged(before: NetMap, frame: MapResponse, wall: WallTime) -> NetMap:
    node = before.self_node if frame.node is None else frame.node
    peers = merge_peers(before.peers, frame, wall)
    if node is not None and (node.id in peers or any(peer.key == node.key for peer in frame.peers or ())):
        peers = {number: peer for number, peer in peers.items() if number != node.id and peer.key != node.key}
    return NetMap(
        self_node=node,
        peers=peers,
        derp_map=merge_derp_map(before.derp_map, frame.derp_map),
        dns=before.dns if frame.dns_config is None else frame.dns_config,
        domain=frame.domain or before.domain,
        filters=merge_filters(before.filters, frame),
        users=before.users
        if not frame.user_profiles
        else {**before.users, **{user.id: user for user in frame.user_profiles}},
        health=before.health if frame.health is None else tuple(frame.health),
        collect_services=before.collect_services if frame.collect_services is None else frame.collect_services,
    )


def _difference(before: NetMap, after: NetMap, touched: Iterable[int]) -> MapChange:
    added: list[Node] = []
    removed: list[Node] = []
    changed: list[tuple[Node, Node]] = []
    for number in sorted(touched):
        old, new = before.peers.get(number), after.peers.get(number)
        if old is None and new is not None:
            added.append(new)
        elif old is not None and new is None:
            removed.append(old)
        elif old is not None and new is not None and old is not new and old != new:
            changed.append((old, new))
    return MapChange(
        added=tuple(added),
        removed=tuple(removed),
        changed=tuple(changed),
        self_node=before.self_node != after.self_node,
        filters=before.filters is not after.filters and before.filters != after.filters,
        dns=before.dns != after.dns,
        derp_map=before.derp_map is not after.derp_map and before.derp_map != after.derp_map,
        users=before.users is not after.users and before.users != after.users,
        health=before.health != after.health,
        domain=before.domain != after.domain,
    )
