"""The DERP map of the fleet: from its relays, the configuration and maps from elsewhere.

Room: shell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from ginnel.core.control.derp_views import DerpViews, Edits
from ginnel.core.control.derpmap import Standing, full_map
from ginnel.core.control.fleet import Fleet
from ginnel.core.control.fleet_book import FleetBook
from ginnel.core.control.fleet_records import FleetRegion, RelayRecord
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.fleet_facts import FleetSettings
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import NodeId


@dataclass(slots=True)
class FleetMap:
    """`whole`: whether all relays of a region are of one mesh. `extras`: maps from elsewhere. `away`: see rehome.py."""

    settings: FleetSettings
    coordinator: Coordinator
    core: Fleet
    whole: Callable[[int], bool]
    extras: Sequence[DERPMap] = ()
    away: Mapping[NodeId, frozenset[int]] = field(default_factory=dict)
    views: DerpViews = field(init=False)

    def __post_init__(self) -> None:
        self.views = DerpViews(DERPMap(), self.settings.edits)

    @property
    def book(self) -> FleetBook:
        return self.coordinator.registry.fleet

    @property
    def full(self) -> DERPMap:
        """Every node with all its addresses, before anything is edited for clients."""
        return self.views.full

    def make(self) -> bool:
        """Make it anew. True if anybody is given another one."""
        full = full_map(self.extras, self.settings.static, self._standings(), self._regions())
        spread = self._spread(full) if self.settings.spread else {}
        before, self.views = self.views, DerpViews(full, self._edits(), self.settings.views, spread, self.away)
        return self.views.made_of != before.made_of or not before.full.regions

    def is_own(self, relay: RelayRecord) -> bool:
        return relay.machine == self.settings.machine

    def carries(self, relay: RelayRecord) -> bool:
        return self.core.in_map(relay.id) and not self.core.draining(relay.id)

    def taken(self) -> set[str]:
        """Names of nodes that are in the map from elsewhere."""
        maps = [*self.extras, DERPMap(regions=dict(self.settings.static))]
        regions = [region for m in maps for region in (m.regions or {}).values() if region is not None]
        return {node.name for region in regions for node in region.nodes or ()}

    def known_region(self, number: int) -> tuple[str, str] | None:
        """Code and name of a region that is there from elsewhere than the book."""
        own = self.settings.own
        maps = [DERPMap(regions=dict(self.settings.static)), *self.extras]
        if own is not None and own.region_id == number:
            return own.region_code, own.region_name
        found = next((r for m in maps if (r := (m.regions or {}).get(number)) is not None), None)
        return (found.region_code, found.region_name) if found is not None else None

    def leaves_none(self, relays: Sequence[RelayRecord]) -> bool:
        """Whether no relay that can be a home would be left without these."""
        wanted = {relay.name for relay in relays}
        regions = [r for r in (self.full.regions or {}).values() if r is not None and not r.no_measure_no_home]
        return all(node.name in wanted for region in regions for node in region.nodes or ())

    # --- what it is made of ---

    def _regions(self) -> dict[int, FleetRegion]:
        """The admin's word, and the configuration's where that says nothing."""
        own = self.settings.own
        if own is None:
            return self.book.regions
        said = self.book.regions.get(own.region_id) or FleetRegion(own.region_id)
        whole = replace(
            said,
            code=said.code or own.region_code,
            name=said.name or own.region_name,
            latitude=said.latitude or own.latitude,
            longitude=said.longitude or own.longitude,
        )
        return {**self.book.regions, own.region_id: whole}

    def _edits(self) -> Edits:
        hidden = {region.id for region in self.book.regions.values() if region.hidden}
        edits = self.settings.edits
        return replace(edits, remove=edits.remove | hidden) if hidden else edits

    def _standings(self) -> list[Standing]:
        found = []
        for relay in self.book.relays.values():
            if self.core.in_map(relay.id):
                node = relay.node if self.is_own(relay) or relay.shown is None else relay.shown
                found.append(Standing(node, self.core.draining(relay.id)))
        return found

    def _spread(self, full: DERPMap) -> dict[int, int]:
        """Regions whose relays are all of one mesh: how many of them do not drain."""
        found = {}
        for number, region in (full.regions or {}).items():
            members = [r for r in self.book.in_region(number) if self.core.in_map(r.id)]
            whole = region is not None and len(region.nodes or ()) == len(members)
            if whole and self.whole(number):
                found[number] = sum(self.carries(r) for r in members)
        return found
