"""The relay fleet beside the coordinator: performs what the fleet's core decides, and makes the DERP map of it.

Room: shell.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from ginnel.core.control import limits
from ginnel.core.control.derp_views import DerpViews, Edits, View
from ginnel.core.control.derpmap import Standing, full_map
from ginnel.core.control.fleet import KEPT, NAMES, Action, Draining, Fleet, FleetRules, Moved, Probe, State, Suspicion
from ginnel.core.control.fleet_book import FleetBook
from ginnel.core.control.fleet_records import DropRelay, FleetRegion, FleetRow, Kept, RelayRecord
from ginnel.core.control.records import Audit, Row
from ginnel.core.control.refused import Refused
from ginnel.shell.control.coordinator import Coordinator, Sink
from ginnel.shell.control.fleet_links import FleetMembers, OwnLink, StreamLink
from ginnel.shell.control.fleet_mesh import NO_MESH, Meshes
from ginnel.shell.control.fleet_probe import Outlook, Prober
from ginnel.shell.control.logins import Failure
from ginnel.shell.control.store import StoreUnavailable
from ginnel.wire.relaycontrol import RelayHello, RelayOrder, RelayReport, RelayState, RelayWelcome
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import Instant, MachineKey, MachinePrivate, NodeKey, NodePrivate, WallTime

log = logging.getLogger("ginnel.control.fleet")
KEEP_ALIVE = 25.0
PROBES_AT_ONCE = 32
MAX_COUNTERS = 100  # of one relay that are shown
TOLD: dict[str, RelayState] = {
    "Probing": "probing",
    "InMap": "in map",
    "Failing": "in map",
    "Out": "out",
    "Draining": "draining",
    "Drained": "drained",
}


@dataclass(frozen=True, slots=True)
class FleetSettings:
    """`static`: the configuration's regions, and the second address of our own relay. `own`: our own relay's region,
    None without one. `machine`: this server's own Noise key, under which its own relay stands in the book."""

    machine: MachineKey
    own: DERPRegion | None
    own_key: NodeKey | None
    own_mesh: bool
    static: dict[int, DERPRegion]
    edits: Edits = field(default_factory=Edits)
    views: tuple[View, ...] = ()
    rules: FleetRules = field(default_factory=FleetRules)
    spread: bool = True


@dataclass(slots=True)
class Live:
    """What is known of a relay beyond its record: from its reports and from the last look at it."""

    clients: int = 0
    mesh_links: int = 0
    counters: dict[str, int] = field(default_factory=dict)
    connected: bool = False
    reported: bool = False
    restated: bool = False  # its record is newer than its entry in the map
    outlook: Outlook | None = None
    looked: WallTime | None = None


def prober_of(server: MachinePrivate) -> Prober:
    """Its key stays the same over restarts, so that relays go on letting it in; nothing about the server's own key
    follows from it."""
    return Prober(NodePrivate(hmac.digest(server.raw, b"ginnel fleet prober", "sha256")))


class RelayFleet:
    """Make it, `load` it once the coordinator is loaded, and keep `run` going. `changed` hears of each new map."""

    def __init__(  # noqa: PLR0917
        self,
        coordinator: Coordinator,
        settings: FleetSettings,
        prober: Prober,
        members: FleetMembers,
        own: OwnLink | None,
        changed: Callable[[DERPMap, DerpViews], None],
    ) -> None:
        self._coordinator = coordinator
        self.settings = settings
        self._prober = prober
        self._members = members
        self._own = own
        self._changed = changed
        self.core = Fleet(settings.rules, os.urandom)
        self.extras: Sequence[DERPMap] = ()
        self.live: dict[int, Live] = {}
        self.health = ""
        self.views = DerpViews(DERPMap(), settings.edits)
        self._tasks: set[asyncio.Task[None]] = set()
        self._probing = asyncio.Semaphore(PROBES_AT_ONCE)
        self._woken = asyncio.Event()
        self._meshes = Meshes(coordinator, self._may_carry, self.core.in_map, self._tell, self.later, self.refresh)

    @property
    def book(self) -> FleetBook:
        return self._coordinator.registry.fleet

    @property
    def full(self) -> DERPMap:
        """Every node with all its addresses, before anything is edited for clients."""
        return self.views.full

    # --- start -----------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Relays that were in the map before a restart are in it after. Raises StoreUnavailable."""
        await self._settle_own()
        now, wall = self._coordinator.now(), self._coordinator.wall()
        for relay in self.book.relays.values():
            left = (relay.drain_until or wall) - wall
            self.live[relay.id] = Live()
            self.core.restored(relay.id, relay.state, now, Instant(now + left), watched=not self.is_own(relay))
        self.refresh()

    async def _settle_own(self) -> None:
        """The server's own relay is a relay of the fleet as others are, but for its probes: from here it cannot be seen
        from outside."""
        settings, own = self.settings, self.settings.own
        known = self.book.of_machine(settings.machine)
        node = next(iter(own.nodes or ()), None) if own is not None else None
        if node is None or own is None or own.region_id in settings.static:
            if known is not None:
                await self._coordinator.change(lambda _: (None, [DropRelay(known.id)]))
            return

        def decide(wall: WallTime) -> tuple[None, list[Row]]:
            rows: list[Row] = []
            kept = known
            if kept is not None and kept.region != own.region_id:
                rows, kept = [DropRelay(kept.id)], None
            hello = RelayHello(settings.own_key or NodeKey.zero(), node, mesh=settings.own_mesh)
            if kept is None:
                record = self.book.add(own.region_id, node, hello.key, wall, self.taken())
                record = replace(record, machine=settings.machine, state="in", mesh=settings.own_mesh)
                return None, [*rows, record]
            return None, [*rows, *self.book.restated(kept, hello)[1]]

        await self._coordinator.change(decide)

    def is_own(self, relay: RelayRecord) -> bool:
        return relay.machine == self.settings.machine

    def own_changed(self, settings: FleetSettings) -> None:
        """The certificate of the relay beside the server is another."""
        self.settings = settings
        self.later(self._own_restated())

    async def _own_restated(self) -> None:
        with suppress(StoreUnavailable):
            await self._settle_own()
        self.refresh()

    def taken(self) -> set[str]:
        """Names of nodes that are in the map from elsewhere."""
        maps = [*self.extras, DERPMap(regions=dict(self.settings.static))]
        regions = [region for m in maps for region in (m.regions or {}).values() if region is not None]
        return {node.name for region in regions for node in region.nodes or ()}

    # --- what an admin does ----------------------------------------------------------------------------------

    def now(self) -> Instant:
        return self._coordinator.now()

    async def change(self, decide: Callable[[WallTime], tuple[Any, list[Row]]]) -> Any:
        """Raises Refused, StoreUnavailable."""
        return await self._coordinator.change(decide)

    def live_now(self, relay: RelayRecord) -> Live:
        """What is known of it; the relay beside the server is asked."""
        live = self.live[relay.id]
        if self._own is not None and self.is_own(relay):
            live.clients, live.mesh_links, live.counters = (
                self._own.clients(),
                self._own.mesh_links(),
                _shown(self._own.counters()),
            )
            live.connected = live.reported = True
        return live

    def added(self, relay: RelayRecord) -> None:
        """Its row is written; it is looked at before it enters the map."""
        self.live[relay.id] = Live()
        self.perform(self.core.joined(relay.id, self.now()))

    async def removed(self, relays: Sequence[RelayRecord]) -> None:
        """Their rows are gone: they are told, and leave the map and the mesh, whose key they know."""
        for relay in relays:
            self.core.removed(relay.id)
            self.live.pop(relay.id, None)
            self._meshes.forget(relay.id)
            link = self._members.links.get(relay.id)
            if link is not None:
                self._members.close(link)
                gone = RelayOrder(begin=True, complete=True, mesh_key=NO_MESH, mesh=[], state="removed")
                link.send(gone)
                link.end()
        for region in {relay.region for relay in relays}:
            await self._meshes.removed_from(region)
        self.refresh()

    # --- running ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Probes, deadlines, keep-alives. Ends when cancelled."""
        loop = asyncio.get_running_loop()
        keep_alive_at = loop.time() + KEEP_ALIVE
        try:
            while True:
                self.perform(self.core.tick(self._coordinator.now()))
                self._watch_own_drain()
                if loop.time() >= keep_alive_at:
                    self._members.keep_alive()
                    keep_alive_at = loop.time() + KEEP_ALIVE
                await self._sleep(keep_alive_at - loop.time())
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _sleep(self, most: float) -> None:
        due = self.core.next_timeout()
        left = most if due is None else min(most, due - self._coordinator.now())
        if self._own_drains():
            left = min(left, 1.0)
        self._woken.clear()
        with suppress(TimeoutError):  # not wait_for: in Python 3.11 it loses a cancellation that comes with the event
            async with asyncio.timeout(max(left, 0.0)):
                await self._woken.wait()

    def _own_drains(self) -> RelayRecord | None:
        own = self.book.of_machine(self.settings.machine)
        return own if own is not None and self.core.draining(own.id) else None

    def _watch_own_drain(self) -> None:
        own = self._own_drains()
        if own is not None and self._own is not None:
            self.live[own.id].clients = count = self._own.clients()
            if count == 0:
                self.perform(self.core.emptied(own.id))

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(self._contained(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(lambda _: work.close())  # not begun when the server ends: nobody misses it

    async def _contained(self, work: Awaitable[None]) -> None:
        try:
            await work
        except Exception:  # one relay's trouble is not the others'
            log.exception("work for the relay fleet failed")

    # --- what the core decided -------------------------------------------------------------------------------

    def perform(self, actions: Iterable[Action]) -> None:
        moved = False
        for action in actions:
            match action:
                case Probe(relay):
                    self.later(self._probe(relay))
                case Moved(relay, state, why):
                    moved = True
                    self._moved(relay, state, why)
                case Suspicion(holds, why):
                    self._suspect(holds, why)
        if moved:
            self.refresh()
        self._woken.set()

    def _suspect(self, holds: bool, why: str) -> None:
        self.health = f"this server's own network is suspected: {why}; no relay is taken out" if holds else ""
        if holds:
            self._coordinator.count("fleet.own_network_suspected")
            log.error("%s", self.health)
        else:
            log.warning("the relays can be reached again")

    def _moved(self, relay_id: int, state: State, why: str) -> None:
        relay = self.book.relays.get(relay_id)
        if relay is None:
            return
        log.info("relay %s is %s%s", relay.name, NAMES[type(state)], f": {why}" if why else "")
        live = self.live[relay_id]
        shown = relay.shown
        if KEPT[type(state)] == "in" and live.outlook is not None and live.outlook.good:
            shown = live.outlook.entry(relay.node)
        until = None
        if isinstance(state, Draining):
            until = WallTime(self._coordinator.wall() + state.until - self._coordinator.now())
        self.later(self._keep(relay_id, KEPT[type(state)], shown, until, why))
        self._tell_state(relay, state, why)

    async def _keep(self, relay_id: int, kept: Kept, shown: DERPNode | None, until: WallTime | None, why: str) -> None:
        """Written before the map follows, unless the database fails: then the map follows all the same."""

        def decide(wall: WallTime) -> tuple[None, list[Row]]:
            relay = self.book.relays.get(relay_id)
            if relay is None:
                return None, []
            record = replace(relay, state=kept, shown=shown, drain_until=until)
            if (record.state, record.shown, bool(until)) == (relay.state, relay.shown, bool(relay.drain_until)):
                return None, []
            rows: list[Row] = [record]
            if record.state != relay.state:
                rows.append(Audit(wall, "server", f"relay {kept}", f"relay {relay.name}", why[:200]))
            return None, rows

        try:
            await self._coordinator.change(decide)
        except StoreUnavailable as error:
            log.error("a relay's state is not kept: %s", error)
        self.refresh()

    def _tell_state(self, relay: RelayRecord, state: State, why: str) -> None:
        """Logins are refused once nobody has to come any more: others of the region take the clients, or it is out."""
        others = any(r.id != relay.id and self._carries(r) for r in self.book.in_region(relay.region))
        name = type(state).__name__
        refuse = name == "Drained" or (name == "Draining" and others and self._meshes.whole(relay.region))
        self._tell(relay, RelayOrder(state=TOLD[name], why=why[:500], refuse_logins=refuse))

    def _carries(self, relay: RelayRecord) -> bool:
        return self.core.in_map(relay.id) and not self.core.draining(relay.id)

    def _tell(self, relay: RelayRecord, order: RelayOrder) -> None:
        link = self._own if self.is_own(relay) else self._members.links.get(relay.id)
        if link is not None:
            link.send(order)

    # --- probes ----------------------------------------------------------------------------------------------

    async def _probe(self, relay_id: int) -> None:
        relay = self.book.relays.get(relay_id)
        if relay is None:
            return
        try:
            async with self._probing:
                outlook = await self.look(relay)
        except Exception:  # a fault here must not leave the relay unwatched
            log.exception("a probe failed")
            outlook = Outlook((), problem="the probe itself failed; the server's log says why")
        if relay_id in self.book.relays:
            self._seen(relay, outlook)

    async def look(self, relay: RelayRecord) -> Outlook:
        """Look at it as a client would."""
        let_in = relay.machine is not None and not self.core.draining(relay.id) and not self._is_drained(relay)
        return await self._prober.look(relay.node, relay.key, let_in=let_in)

    def _may_carry(self, relay: RelayRecord) -> bool:
        return not self._is_drained(relay)

    def _is_drained(self, relay: RelayRecord) -> bool:
        return TOLD[type(self.core.state(relay.id)).__name__] == "drained"

    def _seen(self, relay: RelayRecord, outlook: Outlook) -> None:
        live = self.live[relay.id]
        live.outlook, live.looked = outlook, self._coordinator.wall()
        if not outlook.good:
            self._coordinator.count("fleet.probe_failed")
        if outlook.good and relay.key is None and outlook.key is not None:
            self.later(self._learn_key(relay.id, outlook.key))
        if outlook.good and live.restated and self.core.in_map(relay.id):
            live.restated = False
            entry = outlook.entry(self.book.relays[relay.id].node)
            self.later(self._keep(relay.id, self.book.relays[relay.id].state, entry, None, "it said so"))
        self.perform(self.core.probed(relay.id, outlook.good, outlook.why, self._coordinator.now()))

    async def _learn_key(self, relay_id: int, key: NodeKey) -> None:
        """The first key that an added relay shows is its key from then on."""

        def decide(wall: WallTime) -> tuple[None, list[Row]]:
            relay = self.book.relays.get(relay_id)
            if relay is None or relay.key is not None:
                return None, []
            audit = Audit(wall, "server", "relay key", f"relay {relay.name}", key.short())
            return None, [replace(relay, key=key), audit]

        await self._coordinator.change(decide)

    # --- the map ---------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Make the map anew; whoever is given another one is told."""
        full = full_map(self.extras, self.settings.static, self._standings(), self._regions())
        spread = self._spread(full) if self.settings.spread else {}
        views = DerpViews(full, self._edits(), self.settings.views, spread)
        before, self.views = self.views, views
        self._meshes.settle()
        if views.made_of != before.made_of or not before.full.regions:
            self._changed(full, views)

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

    def known_region(self, number: int) -> tuple[str, str] | None:
        """Code and name of a region that is there from elsewhere than the book."""
        own = self.settings.own
        maps = [DERPMap(regions=dict(self.settings.static)), *self.extras]
        if own is not None and own.region_id == number:
            return own.region_code, own.region_name
        found = next((r for m in maps if (r := (m.regions or {}).get(number)) is not None), None)
        return (found.region_code, found.region_name) if found is not None else None

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
            if whole and self._meshes.whole(number):
                found[number] = sum(self._carries(r) for r in members)
        return found

    # --- relays that talk to us ------------------------------------------------------------------------------

    def knows(self, machine: MachineKey) -> bool:
        return machine != self.settings.machine and self.book.of_machine(machine) is not None

    async def register(self, machine: MachineKey, hello: RelayHello) -> RelayWelcome:
        """A relay joins, or comes back and says what it is now."""
        if machine == self.settings.machine:
            return RelayWelcome(error="this machine key is the server's", fatal=True)
        known = self.book.of_machine(machine)

        def decide(wall: WallTime) -> tuple[RelayRecord, list[Row]]:
            record, rows = self.book.join(machine, hello, wall, self.taken())
            return record, [*rows, *_join_audit(record, known, wall)] if rows else []

        try:
            record = await self._coordinator.change(decide)
        except Refused as error:
            self._coordinator.count("fleet.join_refused")
            log.warning("a relay was not let in: %s", error)
            return RelayWelcome(error=str(error), fatal=True)
        except StoreUnavailable as error:
            return RelayWelcome(error=f"{error}; try again later")
        self._is_there(record, known)
        said = self.book.regions.get(record.region) or FleetRegion(record.region)
        return RelayWelcome(record.name, record.region, said.code, said.name)

    def _is_there(self, record: RelayRecord, before: RelayRecord | None) -> None:
        now = self._coordinator.now()
        if before is None:
            self.live[record.id] = Live()
            self.perform(self.core.joined(record.id, now))
        elif record != before:
            self._restated(record)

    def _restated(self, record: RelayRecord) -> None:
        """What its clients must know to connect follows at once, addresses once they were seen to answer."""
        self.live[record.id].restated = True
        if record.shown is not None:
            shown = msgspec.structs.replace(
                record.shown,
                host_name=record.node.host_name,
                cert_name=record.node.cert_name,
                derp_port=record.node.derp_port,
                stun_port=record.node.stun_port,
            )
            self.later(self._keep(record.id, record.state, shown, record.drain_until, "it said so"))
        self.perform(self.core.hint(record.id, self._coordinator.now()))

    async def report(self, machine: MachineKey, report: RelayReport) -> RelayWelcome:
        relay = self.book.of_machine(machine)
        if relay is None or self.is_own(relay):
            return RelayWelcome(error="this relay is not of the fleet", fatal=True)
        live = self.live[relay.id]
        live.clients, live.mesh_links, live.reported = report.clients, report.mesh_links, True
        live.counters = _shown(report.counters or {})
        if report.node is not None and relay.key is not None:
            return await self.register(machine, RelayHello(relay.key, report.node, mesh=relay.mesh))
        error = self._wish(relay, report.drain) if report.drain is not None else ""
        if report.clients == 0 and self.core.draining(relay.id):
            self.perform(self.core.emptied(relay.id))
        return RelayWelcome(relay.name, relay.region, error=error)

    def _wish(self, relay: RelayRecord, drain: bool) -> str:
        """Of the relay's own operator. Returns why not."""
        now = self._coordinator.now()
        if not drain:
            self.perform(self.core.undrain(relay.id, now))
        elif self.leaves_none([relay]):
            return "no other relay that can be a home would be left: clients stay until it is gone"
        else:
            self.perform(self.core.drain(relay.id, Instant(now + limits.DRAIN_TIME)))
        return ""

    def leaves_none(self, relays: Sequence[RelayRecord]) -> bool:
        """Whether no relay that can be a home would be left without these."""
        wanted = {relay.name for relay in relays}
        regions = [r for r in (self.full.regions or {}).values() if r is not None and not r.no_measure_no_home]
        return all(node.name in wanted for region in regions for node in region.nodes or ())

    def open(self, machine: MachineKey, sink: Sink) -> StreamLink | Failure:
        relay = self.book.of_machine(machine)
        if relay is None:
            return Failure(403, "this relay is not of the fleet")
        link = StreamLink(relay.id, sink)
        older = self._members.open(link)
        if older is not None:
            older.end()
        self.live[relay.id].connected = True
        link.send(self._meshes.order_for(relay))
        self._tell_state(relay, self.core.state(relay.id), self.core.why(relay.id))
        self.perform(self.core.hint(relay.id, self._coordinator.now()))
        return link

    def close(self, link: StreamLink) -> None:
        """The end of its stream may be the first sign of a relay's death."""
        if self._members.close(link) and link.relay in self.live:
            self.live[link.relay].connected = False
            self.perform(self.core.hint(link.relay, self._coordinator.now()))


def _shown(counters: Mapping[str, int]) -> dict[str, int]:
    return dict(sorted(counters.items())[:MAX_COUNTERS])


def _join_audit(record: RelayRecord, known: RelayRecord | None, wall: WallTime) -> list[FleetRow | Audit]:
    verb = "relay join" if known is None else "relay change"
    return [Audit(wall, f"relay {record.name}", verb, f"relay {record.name}", record.node.host_name)]
