"""Which relays to be connected to: home always, a peer's region while something goes there.

Room: core. The pump dials and carries; here is decided whom, when again, and when no more (tailscale:
wgengine/magicsock/derp.go).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ginnel.core.node.actions import Action, RelayClose, RelayMove, RelayOpen, RelayPrefer
from ginnel.core.node.constants import DERP_BACKOFF_MAX, DERP_CLEANUP_INTERVAL, DERP_INACTIVE_CLEANUP
from ginnel.core.node.home_region import NO_REGION
from ginnel.core.node.names import Names, verify_of
from ginnel.core.node.netcheck_plan import measured_regions, relay_nodes
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import Instant, RegionId

NEVER = Instant(float("-inf"))
FIRST_BACKOFF = 0.25
SHORTEST_SMEAR, LONGEST_SMEAR = 0.25, 60.0  # seconds that a relay which restarts may have its clients come back in
MOVES_MAX = 6  # tries in a row to get away from a relay that says it restarts, and still carries
FAILURES_UNTIL_AVOIDED = 3  # dials of a region in a row that fail: somewhere else may be a better home


@dataclass(slots=True)
class _Link:
    """One region that we want to be connected to."""

    up: bool = False
    opened: RelayOpen | None = None
    node: DERPNode | None = None  # the one dialed last, and in use while the link is up
    moving: tuple[DERPNode, RelayOpen] | None = None  # what is to take over
    stays: int = 0  # moves in a row that failed
    failures: int = 0
    again_at: Instant | None = None  # None: up, or dialing. With a connection that is up: when to make another
    skipped: int = 0  # nodes of the region that said they were going away
    wrote_at: Instant = NEVER
    last_up: Instant = NEVER


class Relays:
    """`home`: 0 while there is none. `links` hold only regions in use."""

    def __init__(self, names: Names, entropy: Callable[[int], bytes]) -> None:
        self.home = NO_REGION
        self.problems: dict[RegionId, str] = {}
        self._names = names
        self._entropy = entropy
        self._map = DERPMap()
        self._links: dict[RegionId, _Link] = {}
        self._cleanup_at: Instant | None = None
        self._ready = False

    # --- views ---

    def up(self, region: RegionId) -> bool:
        link = self._links.get(region)
        return link is not None and link.up

    def last_up(self, region: RegionId, now: Instant) -> Instant:
        """When its relay was connected last: now, if it is."""
        link = self._links.get(region)
        return NEVER if link is None else now if link.up else link.last_up

    def connected(self) -> tuple[RegionId, ...]:
        return tuple(sorted(region for region, link in self._links.items() if link.up))

    def failing(self) -> frozenset[RegionId]:
        """Regions whose relay cannot be reached, whatever their STUN server says."""
        links = self._links.items()
        return frozenset(region for region, link in links if not link.up and link.failures >= FAILURES_UNTIL_AVOIDED)

    def failures(self, region: RegionId) -> int:
        """Dials in a row that failed."""
        link = self._links.get(region)
        return link.failures if link is not None else 0

    def code(self, region: RegionId) -> str:
        known = self._region(region)
        return known.region_code if known is not None else ""

    def only_choice(self) -> RegionId:
        """The one region that can be home, if there is just one: then nothing needs to be measured first."""
        regions = measured_regions(self._map)
        return RegionId(regions[0].region_id) if len(regions) == 1 else NO_REGION

    # --- inputs ---

    def map_changed(self, derp_map: DERPMap, now: Instant) -> list[Action]:
        """A region whose relay in use is gone, is another, or stands further down its list, is dialed anew, where it is
        connected without a gap; one that is gone itself is closed."""
        before, self._map = self._map, derp_map
        actions: list[Action] = []
        for region, link in list(self._links.items()):
            after = self._region(region)
            node = link.moving[0] if link.moving is not None else link.node
            if after is not None and _rank(node, after) <= _rank(node, (before.regions or {}).get(region)):
                continue
            if after is not None and link.up and relay_nodes(after):
                link.skipped, link.again_at, link.stays = 0, None, 0
                actions += self._dial(region, now)
                continue
            actions += self._close(region)
            if after is not None:
                self._links[region] = _Link(wrote_at=link.wrote_at)
                actions += self._dial(region, now)
        if self.home and self._region(self.home) is None:
            actions += self.set_home(NO_REGION, now)
        return actions

    def key_set(self, now: Instant) -> list[Action]:
        """A node key is there, or another one: relays know us by it, so every connection is made anew."""
        self._ready = True
        actions: list[Action] = [action for region in list(self._links) for action in self._close(region)]
        if self.home:
            actions += [RelayPrefer(self.home), *self.wanted(self.home, now)]
        return actions

    def set_home(self, region: RegionId, now: Instant) -> list[Action]:
        if region == self.home:
            return []
        old, self.home = self.home, region
        if old in self._links:
            self._links[old].wrote_at = now  # an ordinary region from now on
        self._arm_cleanup(now)
        return [RelayPrefer(region), *(self.wanted(region, now) if region else [])]

    def wanted(self, region: RegionId, now: Instant) -> list[Action]:
        """Something is to go there: dial, unless that is being done."""
        if self._region(region) is None or not self._ready:
            return []
        link = self._links.setdefault(region, _Link())
        link.wrote_at = now
        self._arm_cleanup(now)
        return self._dial(region, now) if link.opened is None and link.again_at is None else []

    def wrote(self, region: RegionId, now: Instant) -> None:
        """Traffic goes there."""
        if (link := self._links.get(region)) is not None:
            link.wrote_at = now

    def went_up(self, region: RegionId) -> None:
        if (link := self._links.get(region)) is not None:
            if link.moving is not None:
                link.node, link.opened = link.moving
            link.up, link.moving, link.stays, link.failures, link.again_at = True, None, 0, 0, None
            self.problems.pop(region, None)

    def went_down(self, region: RegionId, why: str, now: Instant, *, silent: bool = False) -> None:
        """Home is dialed again by itself, another region when something is to go there. A relay that fell silent would
        be so again: the next node's turn comes first."""
        link = self._links.get(region)
        if link is None:
            return
        was_up, link.up = link.up, False
        link.last_up = now if was_up else link.last_up
        link.failures = 0 if was_up else link.failures + 1
        link.skipped += was_up and silent
        self.problems[region] = why
        link.opened = link.moving = None
        again_at = Instant(now + self._backoff(link.failures))
        if was_up and link.again_at is not None:  # it had said when to come back
            link.skipped += 1
            again_at = max(again_at, min(link.again_at, Instant(now + DERP_BACKOFF_MAX)))
        link.again_at = again_at

    def stayed(self, region: RegionId, now: Instant) -> list[Action]:
        """A move failed: the connection is still the old one. The next node is tried soon, and a few times; a relay
        that the map does not name any more is left all the same."""
        link = self._links.get(region)
        if link is None or not link.up or link.moving is None:
            return []
        link.moving = None
        link.stays += 1
        known = self._region(region)
        if _rank(link.node, known) == float("inf"):
            closed = self._close(region)
            self._links[region] = _Link(wrote_at=link.wrote_at, skipped=link.skipped + 1)
            return [*closed, *self._dial(region, now)]
        link.again_at = Instant(now + self._backoff(link.stays)) if link.stays < MOVES_MAX else None
        return []

    def restarting(self, region: RegionId, reconnect_in: float, now: Instant) -> None:
        """The relay goes away: the region's next node, or the same one again, takes over within the time it says. A
        random part of that keeps its clients from coming all at once (tailscale: derp.ServerRestartingMessage)."""
        if (link := self._links.get(region)) is not None and link.up and link.moving is None:
            smear = min(max(reconnect_in, SHORTEST_SMEAR), LONGEST_SMEAR)
            link.again_at = Instant(now + self._jitter() * smear)

    def links_moved(self, now: Instant) -> list[Action]:
        """Another network: every connection is made anew, at once. One from an address that is gone would be found dead
        only by its silence, and one that still works has been waiting for its own retransmission."""
        actions: list[Action] = []
        for region, link in self._links.items():
            if link.up:
                link.last_up = now
            if link.opened is not None:
                actions.append(RelayClose(region))
            link.up, link.opened, link.moving, link.again_at, link.failures = False, None, None, None, 0
            actions += self._dial(region, now)
        return actions

    def resolved(self, now: Instant) -> list[Action]:
        """A name got addresses: dial those that waited for it."""
        waiting = [r for r, link in self._links.items() if link.opened is None and link.again_at is not None]
        return [action for region in waiting if not self.up(region) for action in self._redial(region, now)]

    # --- time ---

    def next_timeout(self) -> Instant | None:
        times = [link.again_at for link in self._links.values() if link.again_at is not None]
        return min([*times, *([self._cleanup_at] if self._cleanup_at is not None else [])], default=None)

    def tick(self, now: Instant) -> list[Action]:
        actions: list[Action] = []
        for region, link in list(self._links.items()):
            if link.again_at is not None and link.again_at <= now:
                actions += self._redial(region, now)
        if self._cleanup_at is not None and self._cleanup_at <= now:
            self._cleanup_at = None
            actions += self._close_idle(now)
            self._arm_cleanup(now)
        return actions

    def _redial(self, region: RegionId, now: Instant) -> list[Action]:
        link = self._links[region]
        link.again_at = None
        if link.up:
            link.skipped += 1
        if region != self.home and now - link.wrote_at >= DERP_INACTIVE_CLEANUP:
            return self._close(region)
        return self._dial(region, now)

    def _close_idle(self, now: Instant) -> list[Action]:
        idle = [
            region
            for region, link in self._links.items()
            if region != self.home and now - link.wrote_at >= DERP_INACTIVE_CLEANUP
        ]
        return [action for region in idle for action in self._close(region)]

    def _arm_cleanup(self, now: Instant) -> None:
        """Nothing is cleaned up, and nobody woken, while home is the only region in use."""
        if self._cleanup_at is None and any(region != self.home for region in self._links):
            self._cleanup_at = Instant(now + DERP_CLEANUP_INTERVAL)

    def _dial(self, region: RegionId, now: Instant) -> list[Action]:
        """The region's nodes in turn: another one after each failure."""
        link = self._links[region]
        known = self._region(region)
        nodes = relay_nodes(known) if known is not None else []
        if not nodes:
            return []
        node = nodes[(link.skipped + link.failures) % len(nodes)]
        lookups: list[Action] = list(self._names.lookups(node, now))
        addresses = self._names.derp_addresses(node)
        if not addresses:
            link.again_at = Instant(now + DERP_BACKOFF_MAX)
            return lookups
        opened = RelayOpen(region, node.host_name, addresses, verify_of(node))
        if link.up:
            link.moving = (node, opened)
            return [*lookups, RelayMove(region, node.host_name, addresses, opened.verify)]
        link.node, link.opened = node, opened
        return [*lookups, opened]

    def _close(self, region: RegionId) -> list[Action]:
        link = self._links.pop(region)
        self.problems.pop(region, None)
        return [RelayClose(region)] if link.opened is not None or link.up else []

    def _backoff(self, failures: int) -> float:
        """At once after a connection that stood, then longer, with a random part so that a restarted relay isn't
        rushed by all of its clients in one instant."""
        return float(self._jitter() * min(DERP_BACKOFF_MAX, FIRST_BACKOFF * 2 ** min(failures, 10)))

    def _jitter(self) -> float:
        """From a half to one."""
        return 0.5 + self._entropy(1)[0] / 512

    def _region(self, region: RegionId) -> DERPRegion | None:
        return (self._map.regions or {}).get(region)


def _rank(node: DERPNode | None, region: DERPRegion | None) -> float:
    """Its place in the region's list; infinite where it is not there."""
    nodes = relay_nodes(region) if region is not None else []
    return nodes.index(node) if node in nodes else float("inf")
