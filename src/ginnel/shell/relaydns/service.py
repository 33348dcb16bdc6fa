"""The relays' DNS as a part of the server: told of each DERP map, it publishes the zone at once.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ginnel.core.relaydns.publish import Action, Publish, Publisher, ReadMap, Resolve, Saved
from ginnel.core.relaydns.responder import Responder
from ginnel.core.relaydns.zone import Zone
from ginnel.core.relaydns.zonefile import zone_file, zone_json
from ginnel.shell.relaydns.config import Checked
from ginnel.shell.relaydns.listen import open_sockets
from ginnel.shell.relaydns.notify import NotifySender
from ginnel.shell.relaydns.resolve import Resolver
from ginnel.shell.relaydns.state import STATE, WRITTEN, load, save
from ginnel.shell.relaydns.tcp import DnsProtocol, TcpDoor
from ginnel.shell.relaydns.udp import UdpListener
from ginnel.shell.relaydns.update import Updater
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import Instant, WallTime

log = logging.getLogger("ginnel.relaydns")

FullMap = Callable[[], DERPMap]


class RelayDns:
    """`start`, then `run` in a task, `changed` at each change of the map, `close`. `full_map`: the map as it is now,
    for the rebuild every few minutes that catches what `changed` was not told."""

    def __init__(
        self, settings: Checked, state: Path, full_map: FullMap, resolver: Callable[[], Resolver] = Resolver
    ) -> None:
        self._settings = settings
        self._file = state / STATE
        self._full_map = full_map
        self._make_resolver = resolver
        self.counters: Counter[str] = Counter()
        self._publisher = Publisher(settings.zone, load(self._file, Saved, Saved()), settings.rebuild)
        self._responder: Responder | None = None
        self._notify = NotifySender(settings.zone.origin, settings.notify)
        self._updater = Updater(settings.update, state / WRITTEN) if settings.update is not None else None
        self._udp: list[UdpListener] = []
        self._tcp: list[asyncio.Server] = []
        self._door = TcpDoor(partial(self._ask, tcp=True), self.counters)
        self._wake = asyncio.Event()
        self._lookups: set[asyncio.Task[None]] = set()
        self._problems: tuple[str, ...] = ()
        self.ports: list[int] = []

    @property
    def zone(self) -> Zone:
        zone = self._publisher.zone
        assert zone is not None, "start comes first"
        return zone

    async def start(self) -> None:
        """Raises RelayDnsError."""
        self._resolver = self._make_resolver()
        try:
            await self._notify.open()
            self.changed(self._full_map())
            for host, port in self._settings.listen:
                await self._listen(host, port)
        except BaseException:
            await self.close()
            raise

    async def _listen(self, host: str, port: int) -> None:
        udp, tcp = open_sockets(host, port)
        self.ports.append(udp.getsockname()[1])
        self._udp.append(UdpListener(udp, partial(self._ask, tcp=False), self.counters))
        loop = asyncio.get_running_loop()
        self._tcp.append(await loop.create_server(lambda: DnsProtocol(self._door), sock=tcp, backlog=128))

    async def close(self) -> None:
        for listener in self._udp:
            listener.close()
        for server in self._tcp:
            server.close()
        self._udp, self._tcp = [], []
        self._door.close()
        self._notify.close()
        for lookup in list(self._lookups):
            lookup.cancel()
        await asyncio.gather(*self._lookups, return_exceptions=True)

    def changed(self, full_map: DERPMap) -> None:
        """The zone of this map is served when this returns."""
        self._perform(self._publisher.changed(full_map, _now(), _wall()))
        self._wake.set()

    async def run(self) -> None:
        """Timers, and the other server's names; until cancelled."""
        async with asyncio.TaskGroup() as group:
            if self._updater is not None:
                group.create_task(self._updater.run())
            group.create_task(self._tick())

    async def _tick(self) -> None:
        while True:
            times = (self._publisher.next_timeout(), self._notify.core.next_timeout())
            due = min((at for at in times if at is not None), default=None)
            with suppress(TimeoutError):
                async with asyncio.timeout_at(due):  # not wait_for: in Python 3.11 it may lose a cancellation
                    await self._wake.wait()
            self._wake.clear()
            try:
                self._perform(self._publisher.tick(_now()))
                self._notify.tick(_now())
            except Exception:  # names must not take the server down; the next turn tries again
                log.exception("the relays' zone could not be rebuilt: the last one stays")
                await asyncio.sleep(1)  # what is due stays due, and would be tried in each turn of the loop

    # --- what the core asks for ------------------------------------------------------------------------------

    def _perform(self, actions: Sequence[Action]) -> None:
        for action in actions:
            match action:
                case Publish():
                    self._publish(action)
                case Resolve(host):
                    self._start_lookup(host)
                case ReadMap():
                    self.changed(self._full_map())

    def _publish(self, action: Publish) -> None:
        zone = action.zone
        if action.save is not None:
            save(self._file, action.save)
        if self._responder is None:
            self._responder = Responder(zone, self._settings.rate, self._settings.transfers, self.counters)
        self._responder.zone = zone
        if self._updater is not None:
            self._updater.publish(zone)
        if action.changed:
            log.info("zone %s, serial %d: %d names", self._settings.zone.zone, zone.serial, len(zone.records))
            self._notify.changed(_now())
        for problem in set(zone.problems) - set(self._problems):
            log.warning("relay DNS: %s", problem)
        self._problems = zone.problems

    def _start_lookup(self, host: str) -> None:
        task = asyncio.get_running_loop().create_task(self._look_up(host))
        self._lookups.add(task)
        task.add_done_callback(self._lookups.discard)

    async def _look_up(self, host: str) -> None:
        v4, v6 = await self._resolver.look_up(host)
        self._perform(self._publisher.resolved(host, v4, v6, _now(), _wall()))
        self._wake.set()

    def _ask(self, packet: bytes, source: bytes, *, tcp: bool) -> Sequence[bytes]:
        assert self._responder is not None, "listening begins behind the first zone"
        return self._responder.receive(packet, source, _now(), _wall(), tcp=tcp)

    def told(self) -> dict[str, Any]:
        """For `ginnel relay zone`."""
        return {**zone_json(self.zone), "zonefile": zone_file(self.zone)}


def _now() -> Instant:
    return Instant(asyncio.get_running_loop().time())


def _wall() -> WallTime:
    return WallTime(time.time())
