"""From the DERP map to the zone in force: rebuilt at each change and every few minutes, with a serial that only rises.

Room: core. The serial is the time in seconds, or one more than the last where that is not higher. It is written down
before it is served, so a restart goes on from it; where what was written is lost, the time is higher than what was
served (RFC 1912 §2.2, RFC 1982).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ginnel.core.relaydns.hosts import V4, V6, Hosts
from ginnel.core.relaydns.zone import HostAddresses, Zone, ZoneSettings, hosts_to_resolve, zone_of
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import Instant, WallTime

REBUILD_EVERY = 300.0
"""Whatever was not told is seen within this, unless the settings say otherwise; fifteen minutes are promised."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What outlives the process."""

    serial: int = 0
    digest: str = ""
    hosts: dict[str, HostAddresses] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Publish:
    """Serve this zone. `save` first, where it is given: what was served is never numbered twice."""

    zone: Zone
    changed: bool
    save: Saved | None


@dataclass(frozen=True, slots=True)
class Resolve:
    """Ask for A and AAAA of this host, and answer by `resolved`."""

    host: str


@dataclass(frozen=True, slots=True)
class ReadMap:
    """Call `changed` with the map as it is now."""


Action = Publish | Resolve | ReadMap


class Publisher:
    """The zone's keeper. Nothing is published before the first `changed`."""

    def __init__(self, settings: ZoneSettings, saved: Saved, rebuild_every: float = REBUILD_EVERY) -> None:
        self.settings = settings
        self._rebuild_every = rebuild_every
        self.zone: Zone | None = None
        self._map = DERPMap()
        self._hosts = Hosts(saved.hosts)
        self._saved = saved
        self._rebuild_at: Instant | None = None

    def changed(self, full_map: DERPMap, now: Instant, wall: WallTime) -> list[Action]:
        self._map = full_map
        self._rebuild_at = Instant(now + self._rebuild_every)
        self._hosts.wanted(hosts_to_resolve(full_map, self.settings), now)
        return [*self._build(wall), *self._ask(now)]

    def resolved(self, host: str, v4: V4, v6: V6, now: Instant, wall: WallTime) -> list[Action]:
        return self._build(wall) if self._hosts.found(host, v4, v6, now) else []

    def tick(self, now: Instant) -> list[Action]:
        actions = self._ask(now)
        if self._rebuild_at is not None and now >= self._rebuild_at:
            self._rebuild_at = Instant(now + self._rebuild_every)
            actions.append(ReadMap())
        return actions

    def next_timeout(self) -> Instant | None:
        times = (self._rebuild_at, self._hosts.next_timeout())
        return min((time for time in times if time is not None), default=None)

    def _ask(self, now: Instant) -> list[Action]:
        return [Resolve(host) for host in self._hosts.due(now)]

    def _build(self, wall: WallTime) -> list[Action]:
        hosts = self._hosts.known()
        made = zone_of(self._map, self.settings, hosts)
        digest, last = made.digest(), self._saved
        serial = last.serial if digest == last.digest else next_serial(last.serial, wall)
        before, self.zone = self.zone, made.numbered(serial)
        if before == self.zone:
            return []
        self._saved = Saved(serial, digest, hosts)
        changed = digest != last.digest
        return [Publish(self.zone, changed, self._saved if self._saved != last else None)]


def next_serial(last: int, wall: WallTime) -> int:
    """The time, unless that is not above the last in the circle of 32 bits; never 0, which some read as "none"."""
    time = int(wall) % 2**32
    if last == 0 or 0 < (time - last) % 2**32 < 2**31:
        return time or 1
    return (last + 1) % 2**32 or 1
