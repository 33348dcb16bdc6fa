"""Which relay regions cannot be reached from here, proven over TCP (a practice of this project).

Room: core. A STUN answer says nothing of the TCP connection that a relay needs, and its absence even less: a check ends
once three regions have answered. So regions that stayed silent are asked by HTTPS, one at a time, after a check and
seldom; two failures in a row while another relay can be reached count. So do dials that fail. Control is told, and can
say which pairs of nodes cannot meet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from ginnel.core.node.actions import Action, MeasureHttps
from ginnel.core.node.names import Names, verify_of
from ginnel.core.node.netcheck_plan import measured_regions, relay_nodes
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import Instant, RegionId

PROVEN_FOR = 1800.0  # seconds until a silent region is asked again
FIRST_AFTER = 3.0  # the home relay is dialed first: without it a failure says nothing
IN_VAIN = 3  # questions while no other relay is reached; then the next check begins anew
AGAIN_AFTER = 10.0  # a failure is confirmed
LOST_AGAIN = 60.0  # whether a region is back
PATIENCE = 5.0  # for the answer to a question
GAP = 0.5  # between two questions
FAILURES = 2


class Reach:
    """`checked` begins a round of questions; while no check is made, as on an idle machine, nothing is asked but
    whether lost regions are back."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._map = DERPMap()
        self._proven: dict[RegionId, Instant] = {}
        self._failed: dict[RegionId, int] = {}
        self._vain: dict[RegionId, int] = {}
        self._due: dict[RegionId, Instant] = {}
        self._asked: tuple[RegionId, Instant] | None = None
        self._free_at: Instant = Instant(float("-inf"))

    @property
    def unreached(self) -> frozenset[RegionId]:
        return frozenset(region for region, failures in self._failed.items() if failures >= FAILURES)

    def forget(self) -> None:
        """The network is another one."""
        self._proven.clear()
        self._failed.clear()
        self._due.clear()
        self._asked = None

    def checked(self, derp_map: DERPMap, answered: Collection[RegionId], now: Instant) -> None:
        """A net check is over: regions that did not answer are asked, unless they were proven lately."""
        self._map = derp_map
        known = [RegionId(region.region_id) for region in measured_regions(derp_map)]
        self._failed = {region: failures for region, failures in self._failed.items() if region in known}
        self._due = {region: due for region, due in self._due.items() if region in known}
        self._proven = {region: at for region, at in self._proven.items() if region in known}
        self._vain.clear()
        for region in known:
            if region in answered and region not in self._failed:
                self._proven[region] = now
            elif region not in self._due and now - self._proven.get(region, -PROVEN_FOR) >= PROVEN_FOR:
                self._due[region] = Instant(now + FIRST_AFTER)

    def up(self, regions: Iterable[RegionId], now: Instant) -> None:
        """Their relays are connected."""
        for region in regions:
            self._proven[region] = now
            self._failed.pop(region, None)
            self._due.pop(region, None)

    def failing(self, regions: Iterable[RegionId], now: Instant) -> None:
        """Their relays were dialed in vain, often enough."""
        for region in regions:
            if self._failed.get(region, 0) < FAILURES:
                self._failed[region] = FAILURES
                self._due[region] = Instant(now + LOST_AGAIN)

    def measured(self, region: RegionId, seconds: float | None, now: Instant, *, others: bool) -> None:
        """An HTTPS answer, or none; whoever asked. `others`: whether another relay is reached, without which a failure
        says nothing of this one."""
        if self._asked is not None and self._asked[0] == region:
            self._asked = None
            self._free_at = Instant(now + GAP)
        if seconds is not None:
            self.up([region], now)
        elif not others:
            self._vain[region] = self._vain.get(region, 0) + 1
            self._due[region] = Instant(now + AGAIN_AFTER)
            if self._vain[region] >= IN_VAIN:
                del self._due[region]
        else:
            self._failed[region] = min(self._failed.get(region, 0) + 1, FAILURES)
            again = LOST_AGAIN if self._failed[region] >= FAILURES else AGAIN_AFTER
            self._due[region] = Instant(now + again)

    def next_timeout(self) -> Instant | None:
        if self._asked is not None:
            return self._asked[1]
        due = min(self._due.values(), default=None)
        return max(due, self._free_at) if due is not None else None

    def tick(self, now: Instant, *, others: bool) -> list[Action]:
        """The next question, if its time has come. One that nobody answers has failed."""
        if self._asked is not None and now >= self._asked[1]:
            self.measured(self._asked[0], None, now, others=others)
        if self._asked is not None or now < self._free_at:
            return []
        ready = [region for region, due in self._due.items() if due <= now]
        return self._ask(min(ready, key=lambda region: (self._due[region], region)), now) if ready else []

    def _ask(self, region: RegionId, now: Instant) -> list[Action]:
        """The region's nodes in turn: it is reached by any."""
        known = (self._map.regions or {}).get(region)
        nodes = relay_nodes(known) if known is not None else []
        if not nodes:
            self._due.pop(region, None)
            return []
        node = nodes[self._failed.get(region, 0) % len(nodes)]
        addresses = self._names.derp_addresses(node)
        if not addresses:
            self._due[region] = Instant(now + LOST_AGAIN)
            return list(self._names.lookups(node, now))
        self._asked = region, Instant(now + PATIENCE)
        return [MeasureHttps(region, node.host_name, addresses, verify_of(node))]
