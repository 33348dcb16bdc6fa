"""What control is told of our place in the network: once, and again only when it is news.

Room: core.
"""

from __future__ import annotations

from collections.abc import Sequence

from ginnel.core.node.actions import ReportToControl
from ginnel.core.node.constants import HOME_TOLD_AFTER
from ginnel.core.node.endpoints import OwnEndpoint
from ginnel.core.node.home_region import NO_REGION
from ginnel.core.node.net_info import net_info, same
from ginnel.core.node.netcheck_report import Report
from ginnel.wire.tailcfg import NetInfo
from ginnel.words import Instant, RegionId


class Telling:
    """`unreached`: relay regions (reach.py). `due`: when home is told though no check has ended, because it is the only
    one there can be."""

    def __init__(self) -> None:
        self.due: Instant | None = None
        self.unreached: frozenset[RegionId] = frozenset()
        self._told: ReportToControl | None = None

    def home_is_clear(self, now: Instant) -> None:
        self.due = Instant(now + HOME_TOLD_AFTER)

    def news(
        self,
        report: Report | None,
        home: RegionId,
        endpoints: Sequence[OwnEndpoint],
        *,
        varies: bool | None,
        port_mapped: bool,
    ) -> list[ReportToControl]:
        """Before the first report of a check there is a home to tell, or nothing."""
        if report is None and (self.due is not None or home == NO_REGION):
            return []
        self.due = None
        before = self._told.net_info if self._told is not None else None
        info = NetInfo(preferred_derp=home)
        if report is not None:
            info = net_info(report, home, before, varies=varies, port_mapped=port_mapped, unreached=self.unreached)
        told = ReportToControl(info, tuple(at for at, _ in endpoints), tuple(kind for _, kind in endpoints))
        if self._told is not None and same(self._told, told):
            return []
        self._told = told
        return [told]
