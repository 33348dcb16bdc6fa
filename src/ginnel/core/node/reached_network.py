"""Our place in the network as `own_network.py` has it, and which relays are reached from there.

Room: core.
"""

from __future__ import annotations

from typing import Any

from ginnel.core.node.actions import Action
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.own_network import OwnNetwork
from ginnel.core.node.reach import Reach
from ginnel.words import Instant, RegionId


class ReachedNetwork(OwnNetwork):
    """What a mesh member has; a check that only a person asked for needs no proof of every relay."""

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        self._reach = Reach(self._names)

    def settled(self, now: Instant) -> list[Action]:
        connected = self._relays.connected()
        self._reach.up(connected, now)
        if connected:
            self._reach.failing(self._relays.failing(), now)
        return [*super().settled(now), *self._tell(now)]

    def _tell(self, now: Instant) -> list[Action]:
        if self._reach.unreached == self._telling.unreached or self.report is None:
            return []
        self._telling.unreached = self._reach.unreached
        return self._refresh(now)

    def restart_check(self, now: Instant) -> list[Action]:
        self._reach.forget()
        return super().restart_check(now)

    def latency_measured(
        self, region: RegionId, seconds: float | None, now: Instant, *, version: int = 0
    ) -> list[Action]:
        self._reach.measured(region, seconds, now, others=self._reaches_others(region))
        return super().latency_measured(region, seconds, now, version=version)

    def _checked(self, report: Report, now: Instant) -> list[Action]:
        self._reach.checked(self._map, report.region_latency.keys(), now)
        return super()._checked(report, now)

    def next_timeout(self) -> Instant | None:
        times = (super().next_timeout(), self._reach.next_timeout())
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: Instant) -> list[Action]:
        return [*super().tick(now), *self._reach.tick(now, others=self._reaches_others(None))]

    def _reaches_others(self, region: RegionId | None) -> bool:
        return any(other != region for other in self._relays.connected())
