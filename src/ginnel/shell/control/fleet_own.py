"""The server's own relay in its fleet.

Room: shell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ginnel.core.control.fleet_records import DropRelay, RelayRecord
from ginnel.core.control.records import Row
from ginnel.shell.control.fleet_facts import Live, shown_counters
from ginnel.shell.control.fleet_links import OwnLink
from ginnel.shell.control.fleet_map import FleetMap
from ginnel.wire.relaycontrol import RelayHello
from ginnel.words import NodeKey, WallTime


@dataclass(frozen=True, slots=True)
class OwnRelay:
    """`link`: None without a relay beside the server."""

    map: FleetMap
    link: OwnLink | None

    @property
    def record(self) -> RelayRecord | None:
        return self.map.book.of_machine(self.map.settings.machine)

    def look(self, live: Live) -> None:
        """It sends no reports: it is asked."""
        if self.link is None:
            return
        live.clients, live.mesh_links = self.link.clients(), self.link.mesh_links()
        live.counters = shown_counters(self.link.counters())
        live.connected = live.reported = True

    async def settle(self) -> None:
        """The server's own relay is a relay of the fleet as others are, but for its probes: from here it cannot be seen
        from outside."""
        settings, own = self.map.settings, self.map.settings.own
        known = self.map.book.of_machine(settings.machine)
        node = next(iter(own.nodes or ()), None) if own is not None else None
        if node is None or own is None or own.region_id in settings.static:
            if known is not None:
                await self.map.coordinator.change(lambda _: (None, [DropRelay(known.id)]))
            return

        def decide(wall: WallTime) -> tuple[None, list[Row]]:
            rows: list[Row] = []
            kept = known
            if kept is not None and kept.region != own.region_id:
                rows, kept = [DropRelay(kept.id)], None
            hello = RelayHello(settings.own_key or NodeKey.zero(), node, mesh=settings.own_mesh)
            if kept is None:
                record = self.map.book.add(own.region_id, node, hello.key, wall, self.map.taken())
                record = replace(record, machine=settings.machine, state="in", mesh=settings.own_mesh)
                return None, [*rows, record]
            return None, [*rows, *self.map.book.restated(kept, hello)[1]]

        await self.map.coordinator.change(decide)
