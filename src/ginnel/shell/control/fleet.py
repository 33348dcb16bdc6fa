"""The relay fleet beside the coordinator: performs what the fleet's core decides.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ginnel.core.control.derp_views import DerpViews
from ginnel.core.control.fleet import Fleet
from ginnel.core.control.fleet_book import FleetBook
from ginnel.core.control.fleet_records import Kept, RelayRecord
from ginnel.core.control.fleet_states import KEPT, NAMES, Action, Draining, Moved, Probe, State, Suspicion, kept
from ginnel.core.control.records import Audit, Row
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.fleet_facts import TOLD, FleetSettings, Live
from ginnel.shell.control.fleet_links import FleetMembers, OwnLink
from ginnel.shell.control.fleet_looks import Looks
from ginnel.shell.control.fleet_map import FleetMap
from ginnel.shell.control.fleet_mesh import NO_MESH, Meshes
from ginnel.shell.control.fleet_own import OwnRelay
from ginnel.shell.control.fleet_probe import Prober
from ginnel.shell.control.store import StoreUnavailable
from ginnel.wire.relaycontrol import RelayOrder
from ginnel.wire.tailcfg import DERPMap, DERPNode
from ginnel.words import Instant, WallTime

log = logging.getLogger("ginnel.control.fleet")
KEEP_ALIVE = 25.0


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
        self.coordinator = coordinator
        self.members = members
        self._changed = changed
        self.core = Fleet(settings.rules, os.urandom)
        self.announce: Callable[[DERPNode], WallTime] | None = None
        """Says when the map may name a relay as it is, where that has to be announced."""
        self.live: dict[int, Live] = {}
        self.health = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._woken = asyncio.Event()
        self.meshes = Meshes(coordinator, self._may_carry, self.core.in_map, self._tell, self.later, self.refresh)
        self.map = FleetMap(settings, coordinator, self.core, self.meshes.whole)
        self.own = OwnRelay(self.map, own)
        self.looks = Looks(self, prober)

    @property
    def book(self) -> FleetBook:
        return self.coordinator.registry.fleet

    # --- start -----------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Relays that were in the map before a restart are in it after. Raises StoreUnavailable."""
        await self.own.settle()
        now, wall = self.coordinator.now(), self.coordinator.wall()
        for relay in self.book.relays.values():
            left = (relay.drain_until or wall) - wall
            self.live[relay.id] = Live()
            self.core.restored(relay.id, relay.state, now, Instant(now + left), watched=not self.map.is_own(relay))
        self.refresh()

    def own_changed(self, settings: FleetSettings) -> None:
        """The certificate of the relay beside the server is another."""
        self.map.settings = settings
        self.later(self._own_restated())

    async def _own_restated(self) -> None:
        with suppress(StoreUnavailable):
            await self.own.settle()
        self.refresh()

    # --- what an admin does ----------------------------------------------------------------------------------

    def now(self) -> Instant:
        return self.coordinator.now()

    async def change(self, decide: Callable[[WallTime], tuple[Any, list[Row]]]) -> Any:
        """Raises Refused, StoreUnavailable."""
        return await self.coordinator.change(decide)

    def live_now(self, relay: RelayRecord) -> Live:
        """What is known of it; the relay beside the server is asked."""
        live = self.live[relay.id]
        if self.map.is_own(relay):
            self.own.look(live)
        return live

    def added(self, relay: RelayRecord) -> None:
        """Its row is written; it is looked at before it enters the map."""
        self.live[relay.id] = Live()
        self.perform(self.core.joined(relay.id, self.now()))

    def removed(self, relays: Sequence[RelayRecord]) -> None:
        """Their rows are gone: they are told, and leave the map and the mesh, whose key is another by now."""
        for relay in relays:
            self.core.removed(relay.id)
            self.live.pop(relay.id, None)
            self.meshes.forget(relay.id)
            link = self.members.links.get(relay.id)
            if link is not None:
                self.members.close(link)
                gone = RelayOrder(begin=True, complete=True, mesh_key=NO_MESH, mesh=[], state="removed")
                link.send(gone)
                link.end()
        self.refresh()

    # --- running ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Probes, deadlines, keep-alives. Ends when cancelled."""
        loop = asyncio.get_running_loop()
        keep_alive_at = loop.time() + KEEP_ALIVE
        try:
            while True:
                self.perform(self.core.tick(self.coordinator.now()))
                self._watch_own_drain()
                if loop.time() >= keep_alive_at:
                    self.members.keep_alive()
                    keep_alive_at = loop.time() + KEEP_ALIVE
                await self._sleep(keep_alive_at - loop.time())
        finally:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _sleep(self, most: float) -> None:
        due = self.core.next_timeout()
        left = most if due is None else min(most, due - self.coordinator.now())
        if self._own_drains():
            left = min(left, 1.0)
        self._woken.clear()
        with suppress(TimeoutError):  # not wait_for: in Python 3.11 it loses a cancellation that comes with the event
            async with asyncio.timeout(max(left, 0.0)):
                await self._woken.wait()

    def _own_drains(self) -> RelayRecord | None:
        own = self.own.record
        return own if own is not None and self.core.draining(own.id) else None

    def _watch_own_drain(self) -> None:
        own = self._own_drains()
        if own is not None and self.own.link is not None and self.live_now(own).clients == 0:
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
                    self.later(self.looks.probe(relay))
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
            self.coordinator.count("fleet.own_network_suspected")
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
        if KEPT[type(state)] == "in" and live.outlook is not None and live.outlook.good and live.announced:
            shown = live.outlook.entry(relay.node)
        self.later(self.keep(relay_id, *self._standing(state, shown), why))
        self._tell_the_draining(relay)
        self.tell_state(relay, state, why)

    def restate(self, relay_id: int, shown: DERPNode) -> None:
        """Its entry in the map is another from now on, and nothing else."""
        self.later(self.keep(relay_id, *self._standing(self.core.state(relay_id), shown), "it said so"))

    def _standing(self, state: State, shown: DERPNode | None) -> tuple[Kept, DERPNode | None, WallTime | None]:
        """What is kept. Of the core's state as it is: the record's may be about to follow it."""
        if not isinstance(state, Draining):
            return kept(state), shown, None
        return kept(state), shown, WallTime(self.coordinator.wall() + state.until - self.coordinator.now())

    async def keep(self, relay_id: int, kept: Kept, shown: DERPNode | None, until: WallTime | None, why: str) -> None:
        """Written before the map follows, unless the database fails: then the map follows all the same."""

        def decide(wall: WallTime) -> tuple[None, list[Row]]:
            relay = self.book.relays.get(relay_id)
            if relay is None:
                return None, []
            record = replace(relay, state=kept, shown=shown, drain_until=until)
            if (record.state, record.shown) == (relay.state, relay.shown) and _same(until, relay.drain_until):
                return None, []
            rows: list[Row] = [record]
            if record.state != relay.state:
                rows.append(Audit(wall, "server", f"relay {kept}", f"relay {relay.name}", why[:200]))
            return None, rows

        try:
            await self.coordinator.change(decide)
        except StoreUnavailable as error:
            log.error("a relay's state is not kept: %s", error)
        self.refresh()

    def tell_state(self, relay: RelayRecord, state: State, why: str) -> None:
        """Logins are refused once nobody has to come any more: others of the region take the clients, or it is out."""
        others = any(r.id != relay.id and self.map.carries(r) for r in self.book.in_region(relay.region))
        name = type(state).__name__
        refuse = name == "Drained" or (name == "Draining" and others and self.meshes.whole(relay.region))
        self._tell(relay, RelayOrder(state=TOLD[name], why=why[:500], refuse_logins=refuse))

    def _tell_the_draining(self, moved: RelayRecord) -> None:
        """Whether those of its region that drain have to let clients in again depends on it."""
        for relay in self.book.in_region(moved.region):
            if relay.id != moved.id and self.core.draining(relay.id):
                self.tell_state(relay, self.core.state(relay.id), self.core.why(relay.id))

    def _tell(self, relay: RelayRecord, order: RelayOrder) -> None:
        link = self.own.link if self.map.is_own(relay) else self.members.links.get(relay.id)
        if link is not None:
            link.send(order)

    def _may_carry(self, relay: RelayRecord) -> bool:
        return not self.is_drained(relay)

    def is_drained(self, relay: RelayRecord) -> bool:
        return TOLD[type(self.core.state(relay.id)).__name__] == "drained"

    # --- the map ---------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Make the map anew; whoever is given another one is told."""
        news = self.map.make()
        self.meshes.settle()
        if news:
            self._changed(self.map.full, self.map.views)


def _same(one: WallTime | None, other: WallTime | None) -> bool:
    """Of deadlines, which are counted anew from the clock each time."""
    return one is other or (one is not None and other is not None and abs(one - other) < 1.0)
