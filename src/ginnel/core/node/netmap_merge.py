"""Merging the parts of a map frame: peers in their order of application, filters, the DERP map.

Room: core.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from ginnel.wire.tailcfg import DERPHomeParams, DERPMap, FilterRule, MapResponse, Node, PeerChange, wall_time
from ginnel.words import WallTime

MAX_NODE_ID = 2**53
BASE_FILTER = "base"  # the name under which the older `PacketFilter` stands


def sound_peer(node: Node) -> bool:
    """A peer that can be addressed at all: a number, a key."""
    return 0 < node.id < MAX_NODE_ID and bool(node.key)


def touched_peers(frame: MapResponse) -> set[int]:
    """The peers that a delta may change."""
    return {
        *(node.id for node in frame.peers_changed or ()),
        *(frame.peers_removed or ()),
        *(frame.peer_seen_change or ()),
        *(frame.online_change or ()),
        *(patch.node_id for patch in frame.peers_changed_patch or ()),
    }


def merge_peers(before: Mapping[int, Node], frame: MapResponse, wall: WallTime) -> Mapping[int, Node]:
    """Peers, else removals and upserts; then last seen, online, patches. An empty `peers` is no list at all."""
    if not frame.peers and not touched_peers(frame):
        return before
    if frame.peers:
        peers = {node.id: node for node in frame.peers if sound_peer(node)}
    else:
        peers = dict(before)
        for number in frame.peers_removed or ():
            peers.pop(number, None)
        peers.update((node.id, node) for node in frame.peers_changed or () if sound_peer(node))
    _note_seen(peers, frame, wall)
    for patch in frame.peers_changed_patch or ():
        if (node := peers.get(patch.node_id)) is not None:
            peers[patch.node_id] = patched(node, patch)
    for number in [*peers] if frame.peers else touched_peers(frame):
        if (node := peers.get(number)) is not None:
            peers[number] = marked(node, wall)
    return peers


def has_expired(node: Node, wall: WallTime) -> bool:
    expiry = wall_time(node.key_expiry)
    return expiry is not None and expiry <= wall


def marked(node: Node, wall: WallTime) -> Node:
    """The node, `expired` if its key has."""
    return msgspec.structs.replace(node, expired=True) if not node.expired and has_expired(node, wall) else node


def _note_seen(peers: dict[int, Node], frame: MapResponse, wall: WallTime) -> None:
    for number, seen in (frame.peer_seen_change or {}).items():
        if (node := peers.get(number)) is not None:
            last_seen = datetime.fromtimestamp(wall, UTC) if seen else None
            peers[number] = msgspec.structs.replace(node, last_seen=last_seen)
    for number, online in (frame.online_change or {}).items():
        if (node := peers.get(number)) is not None:
            peers[number] = msgspec.structs.replace(node, online=online)


def patched(node: Node, patch: PeerChange) -> Node:
    """Absent members are unchanged; zero region, capability or key likewise; an empty endpoint list clears."""
    members: dict[str, object] = {
        "home_derp": patch.derp_region or None,
        "cap": patch.cap or None,
        "cap_map": patch.cap_map,
        "endpoints": patch.endpoints,
        "key": patch.key or None,
        "disco_key": patch.disco_key or None,
        "online": patch.online,
        "last_seen": patch.last_seen,
        "key_expiry": patch.key_expiry,
    }
    new = {name: value for name, value in members.items() if value is not None}
    if patch.key_expiry is not None:
        new["expired"] = False  # judged anew by the caller
    return msgspec.structs.replace(node, **new)


def merge_filters(
    before: Mapping[str, tuple[FilterRule, ...]], frame: MapResponse
) -> Mapping[str, tuple[FilterRule, ...]]:
    """`PacketFilter` is the name "base"; then `PacketFilters`, where null deletes and `"*": null` first clears all."""
    if frame.packet_filter is None and frame.packet_filters is None:
        return before
    named = frame.packet_filters or {}
    filters = dict(before)
    if frame.packet_filter is not None:
        filters[BASE_FILTER] = tuple(frame.packet_filter)
    if "*" in named and named["*"] is None:
        filters.clear()
    for name, rules in named.items():
        if rules is None:
            filters.pop(name, None)
        else:
            filters[name] = tuple(rules)
    return filters


def merge_derp_map(before: DERPMap, delta: DERPMap | None) -> DERPMap:
    """Regions replace as a whole, null ones left out; home parameters change alone or not at all."""
    if delta is None:
        return before
    regions, params = before.regions, before.home_params
    omit = before.omit_default_regions
    if delta.regions is not None:
        omit = delta.omit_default_regions
        regions = {
            number: region
            for number, region in delta.regions.items()
            if region is not None and region.region_id == number and 0 < number <= 0xFFFF
        }
    if delta.home_params is not None and delta.home_params.region_score is not None:
        params = DERPHomeParams(region_score=delta.home_params.region_score or None)
    after = DERPMap(home_params=params, regions=regions, omit_default_regions=omit)
    return before if after == before else after
