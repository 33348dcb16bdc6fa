"""The mesh of each region: its key, and who tells whom of whom.

Room: shell.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ginnel.core.control.fleet_book import FleetBook
from ginnel.core.control.fleet_records import FleetRegion, RelayRecord
from ginnel.core.control.records import Audit, Row
from ginnel.shell.control.coordinator import Coordinator
from ginnel.wire.relaycontrol import MeshNode, RelayOrder
from ginnel.words import WallTime

NO_MESH = "none"
KEY_SIZE = 32


@dataclass(slots=True)
class Meshes:
    """`carries`: whether a relay is in the map or about to be; `in_map`: whether it is. `tell` sends an order, `later`
    starts work, `refresh` makes the map anew."""

    coordinator: Coordinator
    carries: Callable[[RelayRecord], bool]
    in_map: Callable[[int], bool]
    tell: Callable[[RelayRecord, RelayOrder], None]
    later: Callable[[Coroutine[Any, Any, None]], None]
    refresh: Callable[[], None]
    _told: dict[int, RelayOrder] = field(default_factory=dict)
    _keying: set[int] = field(default_factory=set)

    @property
    def book(self) -> FleetBook:
        return self.coordinator.registry.fleet

    def whole(self, region: int) -> bool:
        """Whether every relay of the region that is in the map is in its mesh, and two at least."""
        members = [r for r in self.book.in_region(region) if self.in_map(r.id)]
        return len(members) > 1 and all(r.mesh for r in members) and bool(self._key(region))

    def settle(self) -> None:
        """Tell the relays of each region who the others are, where that is not what they were told last."""
        for region in {relay.region for relay in self.book.relays.values()}:
            if len(self._members(region)) > 1 and not self._key(region):
                if region not in self._keying:
                    self._keying.add(region)
                    self.later(self.begin(region))
                continue
            for relay in self.book.in_region(region):
                if self._told.get(relay.id) != self._order(relay):
                    self.tell(relay, self.order_for(relay))

    def order_for(self, relay: RelayRecord) -> RelayOrder:
        """What to tell it; it counts as told."""
        self._told[relay.id] = order = self._order(relay)
        return order

    def forget(self, relay: int) -> None:
        self._told.pop(relay, None)

    def keys_known_to(self, removed: Sequence[RelayRecord], wall: WallTime) -> list[Row]:
        """Other keys instead, written together with the removal: no failure in between leaves the old one in use."""
        regions = {relay.region for relay in removed}
        return [row for region in sorted(regions) if self._key(region) for row in self._rekeyed(region, wall)]

    async def begin(self, region: int) -> None:
        """The first key of a region."""

        def decide(wall: WallTime) -> tuple[None, list[Row]]:
            return None, self._rekeyed(region, wall) if not self._key(region) else []

        try:
            await self.coordinator.change(decide)
        finally:
            self._keying.discard(region)
        self.refresh()

    def _rekeyed(self, region: int, wall: WallTime) -> list[Row]:
        said = self.book.regions.get(region) or FleetRegion(region)
        audit = Audit(wall, "server", "relay mesh key", f"region {region}", "a new key")
        return [replace(said, mesh_key=secrets.token_bytes(KEY_SIZE)), audit]

    def _key(self, region: int) -> bytes:
        said = self.book.regions.get(region)
        return said.mesh_key if said is not None else b""

    def _members(self, region: int) -> list[RelayRecord]:
        relays = self.book.in_region(region)
        return [r for r in relays if r.mesh and r.machine is not None and self.carries(r)]

    def _order(self, relay: RelayRecord) -> RelayOrder:
        members, key = self._members(relay.region), self._key(relay.region)
        if len(members) < 2 or relay not in members or not key:
            return RelayOrder(mesh_key=NO_MESH, mesh=[])
        return RelayOrder(mesh_key=key.hex(), mesh=[_mesh_node(other) for other in members if other.id != relay.id])


def _mesh_node(relay: RelayRecord) -> MeshNode:
    node = relay.shown or relay.node
    addresses = [text for text in (node.ipv4, node.ipv6) if text not in ("", "none")]
    return MeshNode(node.host_name, addresses, node.derp_port or 443, node.cert_name)
