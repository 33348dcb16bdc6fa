"""The net map: the first frame of the map stream and every delta after it, merged (tailscale: tailcfg.MapResponse).

Room: core. Frames come in as messages; what comes out is a new map and the list of what differs. An error is never
an empty result: members that are absent change nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import ip_network
from types import MappingProxyType

from ginnel.core.node.netmap_merge import merge_derp_map, merge_filters, merge_peers
from ginnel.wire.tailcfg import DERPMap, DNSConfig, FilterRule, MapResponse, Node, UserProfile
from ginnel.words import Endpoint, RegionId, WallTime


@dataclass(frozen=True, slots=True)
class NetMap:
    """Everything the server has said so far. `filters`: name -> rules; all of them together are the filter."""

    self_node: Node | None = None
    peers: Mapping[int, Node] = field(default_factory=dict)
    derp_map: DERPMap = DERPMap()
    dns: DNSConfig | None = None
    domain: str = ""
    filters: Mapping[str, tuple[FilterRule, ...]] = field(default_factory=dict)
    users: Mapping[int, UserProfile] = field(default_factory=dict)
    health: tuple[str, ...] = ()
    collect_services: bool | None = None


@dataclass(frozen=True, slots=True)
class MapChange:
    """What one frame changed; nodes are peers, `changed` holds (before, after)."""

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
