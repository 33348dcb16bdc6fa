"""The DERP map as clients are given it: edited for all, then for some, with one stable order for each.

Room: core. What no client may ever be given is sieved last (`fit_for_clients`): tailscale-rs drops a map with a null
region, and a region without a DERP node can become a home that nobody can be reached at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from ginnel.core.relay.identity import as_address
from ginnel.wire.tailcfg import DERPHomeParams, DERPMap, DERPNode, DERPRegion, encode
from ginnel.words import NodeId

replace = msgspec.structs.replace
ORDERS = 12
"""Clients begin with one or another node of a region, by their number, so that a region's relays share them."""

RegionName = int | str
"""A region's number or its code."""


@dataclass(frozen=True, slots=True)
class View:
    """What the nodes with one of these tags, or of one of these users, see. `regions`: these alone, None: all."""

    tags: frozenset[str] = frozenset()
    users: frozenset[str] = frozenset()
    regions: frozenset[RegionName] | None = None
    omit: frozenset[RegionName] = frozenset()
    names_only: bool | None = None

    def is_for(self, tags: Collection[str], user: str) -> bool:
        return bool(self.tags.intersection(tags)) or user in self.users


@dataclass(frozen=True, slots=True)
class Edits:
    """`names_only`: no addresses, so that clients ask DNS and firewalls learn the names."""

    remove: frozenset[RegionName] = frozenset()
    avoid: frozenset[RegionName] = frozenset()
    no_home: frozenset[RegionName] = frozenset()
    scores: Mapping[str, float] = field(default_factory=dict)
    names_only: bool = False


EVERYBODY = View()


class DerpViews:
    """Made anew with each full map. `spread`: regions whose nodes reach each other's clients, so that any may be first;
    in others all clients have to begin with the same one. The last `drained` nodes of a region stay last."""

    def __init__(
        self,
        full: DERPMap,
        edits: Edits,
        views: Sequence[View] = (),
        spread: Mapping[int, int] | None = None,
        away: Mapping[NodeId, frozenset[int]] | None = None,
    ) -> None:
        """`spread`: region -> how many of its first nodes may change places. `away`: regions that are not to be the
        home of a node (rehome.py)."""
        self.full = full
        self.made_of = (full, edits, tuple(views), spread or {}, away or {})
        self._away = away or {}
        self._edited = edited(full, edits)
        self._names_only = edits.names_only
        self._views = views
        self._spread = {number: count for number, count in (spread or {}).items() if count > 1}
        self._made: dict[tuple[View, int, frozenset[int]], bytes] = {}

    @property
    def default(self) -> DERPMap:
        """For those who are nobody in particular."""
        return self.seen_by(EVERYBODY)

    @property
    def given(self) -> DERPMap:
        """All that any client may be given, with addresses though clients are told names alone."""
        return fit_for_clients(self._edited)

    def view_of(self, tags: Collection[str], user: str) -> View:
        """The first that names the node."""
        return next((view for view in self._views if view.is_for(tags, user)), EVERYBODY)

    def for_node(self, node_id: NodeId, tags: Collection[str], user: str) -> bytes:
        """As JSON; b"" when nothing is left: then the client keeps what it has, since an empty map says no less."""
        order = node_id % ORDERS if self._spread else 0
        key = (self.view_of(tags, user), order, self._away.get(node_id, frozenset()))
        if key not in self._made:
            seen = _kept_away(self._turned(self.seen_by(key[0]), order), key[2])
            params = seen.home_params or DERPHomeParams(region_score={})  # {} takes back what was said before
            self._made[key] = encode(replace(seen, home_params=params)) if seen.regions else b""
        return self._made[key]

    def seen_by(self, view: View) -> DERPMap:
        regions = {
            number: region
            for number, region in (self._edited.regions or {}).items()
            if region is not None
            and (view.regions is None or _named(region, view.regions))
            and not _named(region, view.omit)
        }
        if self._names_only if view.names_only is None else view.names_only:
            regions = {number: _by_name(region) for number, region in regions.items()}
        return fit_for_clients(replace(self._edited, regions=regions))

    def _turned(self, seen: DERPMap, order: int) -> DERPMap:
        regions = {
            number: _turn(region, order, self._spread.get(number, 0)) if region is not None else None
            for number, region in (seen.regions or {}).items()
        }
        return replace(seen, regions=regions)


def edited(full: DERPMap, edits: Edits) -> DERPMap:
    """The map with the configuration's changes."""
    regions = {
        number: replace(
            region,
            avoid=region.avoid or _named(region, edits.avoid),
            no_measure_no_home=region.no_measure_no_home or _named(region, edits.no_home),
        )
        for number, region in (full.regions or {}).items()
        if region is not None and not _named(region, edits.remove)
    }
    scores = dict((full.home_params.region_score if full.home_params else None) or {})
    for number, region in regions.items():
        for name in (str(number), region.region_code):
            if name in edits.scores:
                scores[number] = edits.scores[name]
    scores = {number: score for number, score in scores.items() if number in regions and score > 0}
    params = DERPHomeParams(region_score=scores) if scores else None
    return replace(full, regions=regions, home_params=params)


def fit_for_clients(derp_map: DERPMap) -> DERPMap:
    regions = {
        number: region
        for number, region in (derp_map.regions or {}).items()
        if region is not None and any(not node.stun_only for node in region.nodes or ())
    }
    return replace(derp_map, regions=regions)


def _kept_away(seen: DERPMap, away: frozenset[int]) -> DERPMap:
    """Those regions are no homes, if there is another that can be."""
    regions = {number: region for number, region in (seen.regions or {}).items() if region is not None}
    if not away or all(number in away or region.no_measure_no_home for number, region in regions.items()):
        return seen
    kept = {n: replace(r, no_measure_no_home=True) if n in away else r for n, r in regions.items()}
    return replace(seen, regions=kept)


def _named(region: DERPRegion, names: Iterable[RegionName]) -> bool:
    return any(name in (region.region_id, str(region.region_id), region.region_code) for name in names)


def _by_name(region: DERPRegion) -> DERPRegion:
    return replace(region, nodes=[_without_addresses(node) for node in region.nodes or ()])


def _without_addresses(node: DERPNode) -> DERPNode:
    """Clients ask for captive portals only where the map holds the address. A host that is an address stays one."""
    if as_address(node.host_name) is not None:
        return node
    return replace(node, ipv4="", ipv6="", can_port80=False)


def _turn(region: DERPRegion, order: int, count: int) -> DERPRegion:
    nodes = list(region.nodes or ())
    if count < 2 or count > len(nodes):
        return region
    first = order % count
    return replace(region, nodes=nodes[first:count] + nodes[:first] + nodes[count:])
