"""Looking at the relays of the fleet, and what follows from it.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from ginnel.core.control.fleet_records import RelayRecord
from ginnel.core.control.records import Audit, Row
from ginnel.shell.control.fleet_facts import Live
from ginnel.shell.control.fleet_probe import Outlook, Prober
from ginnel.words import Instant, NodeKey, WallTime

if TYPE_CHECKING:
    from ginnel.shell.control.fleet import RelayFleet

log = logging.getLogger("ginnel.control.fleet")
PROBES_AT_ONCE = 32


@dataclass(slots=True)
class Looks:
    fleet: RelayFleet
    prober: Prober
    _probing: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(PROBES_AT_ONCE))

    async def probe(self, relay_id: int) -> None:
        """What the fleet's core asked for."""
        relay = self.fleet.book.relays.get(relay_id)
        if relay is None:
            return
        try:
            async with self._probing:
                outlook = await self.look(relay)
        except Exception:  # a fault here must not leave the relay unwatched
            log.exception("a probe failed")
            outlook = Outlook((), problem="the probe itself failed; the server's log says why")
        if relay_id in self.fleet.book.relays:
            self._seen(relay, outlook)

    async def look(self, relay: RelayRecord) -> Outlook:
        """Look at it as a client would."""
        fleet = self.fleet
        let_in = relay.machine is not None and not fleet.core.draining(relay.id) and not fleet.is_drained(relay)
        return await self.prober.look(relay.node, relay.key, let_in=let_in)

    def _seen(self, relay: RelayRecord, outlook: Outlook) -> None:
        fleet = self.fleet
        live = fleet.live[relay.id]
        live.outlook, live.looked = outlook, fleet.coordinator.wall()
        if not outlook.good:
            fleet.coordinator.count("fleet.probe_failed")
        if outlook.good and relay.key is None and outlook.key is not None:
            fleet.later(self._learn_key(relay.id, outlook.key))
        now = fleet.now()
        ready = self._ready(live, relay.id, outlook, now)
        if outlook.good and live.announced and live.restated and fleet.core.in_map(relay.id):
            live.restated = False
            fleet.restate(relay.id, outlook.entry(fleet.book.relays[relay.id].node))
        fleet.perform(fleet.core.probed(relay.id, outlook.good, outlook.why, now, ready))

    def _ready(self, live: Live, relay_id: int, outlook: Outlook, now: Instant) -> Instant:
        """When the map may name it at the addresses where it was seen. One that is in the map stays there as it is,
        unless it says that it is another."""
        fleet = self.fleet
        if fleet.announce is None or not outlook.good:
            return now
        if fleet.core.in_map(relay_id) and not live.restated:
            live.announced = False
            return now
        at = fleet.announce(outlook.entry(fleet.book.relays[relay_id].node))
        left = max(0.0, at - fleet.coordinator.wall())
        live.announced = left == 0
        return Instant(now + left)

    async def _learn_key(self, relay_id: int, key: NodeKey) -> None:
        """The first key that an added relay shows is its key from then on."""

        def decide(wall: WallTime) -> tuple[None, list[Row]]:
            relay = self.fleet.book.relays.get(relay_id)
            if relay is None or relay.key is not None:
                return None, []
            audit = Audit(wall, "server", "relay key", f"relay {relay.name}", key.short())
            return None, [replace(relay, key=key), audit]

        await self.fleet.coordinator.change(decide)
