"""Relays that talk to the server: they join, report, and hold a stream of orders.

Room: shell.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import msgspec

from ginnel.core.control import limits
from ginnel.core.control.fleet_records import FleetRegion, FleetRow, RelayRecord
from ginnel.core.control.records import Audit, Row
from ginnel.core.control.refused import Refused
from ginnel.shell.control.coordinator_doors import Sink
from ginnel.shell.control.fleet import RelayFleet
from ginnel.shell.control.fleet_facts import Live, shown_counters
from ginnel.shell.control.fleet_links import StreamLink
from ginnel.shell.control.logins import Failure
from ginnel.shell.control.store import StoreUnavailable
from ginnel.wire.relaycontrol import RelayHello, RelayReport, RelayWelcome
from ginnel.words import Instant, MachineKey, WallTime

log = logging.getLogger("ginnel.control.fleet")


@dataclass(frozen=True, slots=True)
class FleetDoor:
    """What a control connection needs of the fleet. `_bootstrap`: names that each of its relays tells."""

    _fleet: RelayFleet
    _bootstrap: tuple[str, ...] = ()

    def knows(self, machine: MachineKey) -> bool:
        return machine != self._fleet.map.settings.machine and self._fleet.book.of_machine(machine) is not None

    async def register(self, machine: MachineKey, hello: RelayHello) -> RelayWelcome:
        """A relay joins, or comes back and says what it is now."""
        if machine == self._fleet.map.settings.machine:
            return RelayWelcome(error="this machine key is the server's", fatal=True)
        known = self._fleet.book.of_machine(machine)

        def decide(wall: WallTime) -> tuple[RelayRecord, list[Row]]:
            record, rows = self._fleet.book.join(machine, hello, wall, self._fleet.map.taken())
            return record, [*rows, *_join_audit(record, known, wall)] if rows else []

        try:
            record = await self._fleet.coordinator.change(decide)
        except Refused as error:
            self._fleet.coordinator.count("fleet.join_refused")
            log.warning("a relay was not let in: %s", error)
            return RelayWelcome(error=str(error), fatal=True)
        except StoreUnavailable as error:
            return RelayWelcome(error=f"{error}; try again later")
        self._is_there(record, known)
        said = self._fleet.book.regions.get(record.region) or FleetRegion(record.region)
        return RelayWelcome(record.name, record.region, said.code, said.name, bootstrap_names=list(self._bootstrap))

    def _is_there(self, record: RelayRecord, before: RelayRecord | None) -> None:
        now = self._fleet.coordinator.now()
        if before is None:
            self._fleet.live[record.id] = Live()
            self._fleet.perform(self._fleet.core.joined(record.id, now))
        elif record != before:
            self._restated(record)

    def _restated(self, record: RelayRecord) -> None:
        """What its clients must know to connect follows at once, addresses once they were seen to answer."""
        self._fleet.live[record.id].restated = True
        if record.shown is not None:
            shown = msgspec.structs.replace(
                record.shown,
                host_name=record.node.host_name,
                cert_name=record.node.cert_name,
                derp_port=record.node.derp_port,
                stun_port=record.node.stun_port,
            )
            self._fleet.restate(record.id, shown)
        self._fleet.perform(self._fleet.core.hint(record.id, self._fleet.coordinator.now()))

    async def report(self, machine: MachineKey, report: RelayReport) -> RelayWelcome:
        relay = self._fleet.book.of_machine(machine)
        if relay is None or self._fleet.map.is_own(relay):
            return RelayWelcome(error="this relay is not of the fleet", fatal=True)
        live = self._fleet.live[relay.id]
        live.clients, live.mesh_links, live.reported = report.clients, report.mesh_links, True
        live.counters = shown_counters(report.counters or {})
        if report.node is not None and relay.key is not None:
            welcome = await self.register(machine, RelayHello(relay.key, report.node, mesh=relay.mesh))
            if welcome.error or relay.id not in self._fleet.live:
                return welcome
        error = self._wish(relay, report.drain) if report.drain is not None else ""
        if report.clients == 0 and self._fleet.core.draining(relay.id):
            self._fleet.perform(self._fleet.core.emptied(relay.id))
        return RelayWelcome(relay.name, relay.region, error=error)

    def _wish(self, relay: RelayRecord, drain: bool) -> str:
        """Of the relay's own operator; what an admin drained it does not take back. Returns why not."""
        now = self._fleet.coordinator.now()
        if not drain:
            self._fleet.perform(self._fleet.core.undrain(relay.id, now, own=True))
        elif self._fleet.map.leaves_none([relay]):
            return "no other relay that can be a home would be left: clients stay until it is gone"
        else:
            self._fleet.perform(self._fleet.core.drain(relay.id, Instant(now + limits.DRAIN_TIME), own=True))
        return ""

    def open(self, machine: MachineKey, sink: Sink) -> StreamLink | Failure:
        relay = self._fleet.book.of_machine(machine)
        if relay is None:
            return Failure(403, "this relay is not of the fleet")
        link = StreamLink(relay.id, sink)
        older = self._fleet.members.open(link)
        if older is not None:
            older.end()
        self._fleet.live[relay.id].connected = True
        link.send(self._fleet.meshes.order_for(relay))
        self._fleet.tell_state(relay, self._fleet.core.state(relay.id), self._fleet.core.why(relay.id))
        self._fleet.perform(self._fleet.core.hint(relay.id, self._fleet.coordinator.now()))
        return link

    def close(self, link: StreamLink) -> None:
        """The end of its stream may be the first sign of a relay's death."""
        if self._fleet.members.close(link) and link.relay in self._fleet.live:
            self._fleet.live[link.relay].connected = False
            self._fleet.perform(self._fleet.core.hint(link.relay, self._fleet.coordinator.now()))


def _join_audit(record: RelayRecord, known: RelayRecord | None, wall: WallTime) -> list[FleetRow | Audit]:
    verb = "relay join" if known is None else "relay change"
    return [Audit(wall, f"relay {record.name}", verb, f"relay {record.name}", record.node.host_name)]
