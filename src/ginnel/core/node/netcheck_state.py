"""One running net check: what was asked, what was answered, and the report that follows from it.

Room: core.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from ginnel.core.node.netcheck_plan import Probe
from ginnel.core.node.netcheck_report import Report
from ginnel.words import Endpoint, Instant, IpAddress, RegionId


@dataclass(slots=True)
class Check:
    """One running check."""

    began: Instant
    full: bool
    probes: list[Probe]  # not sent yet, by delay
    ends_at: Instant
    regions: frozenset[RegionId]
    groups: set[int]  # not answered yet
    by_https: bool  # where UDP is silent
    waiting: list[Probe] = field(default_factory=list)  # due, and the server's name is not resolved yet
    open: dict[bytes, tuple[Probe, Endpoint, Instant]] = field(default_factory=dict)
    latency: dict[int, dict[RegionId, float]] = field(default_factory=lambda: {4: {}, 6: {}})
    seen: dict[int, Counter[Endpoint]] = field(default_factory=lambda: {4: Counter(), 6: Counter()})
    first_v4: Endpoint | None = None
    last_v6: Endpoint | None = None
    mapped_at: dict[IpAddress, Endpoint] = field(default_factory=dict)  # IPv4 server -> what it saw
    sent: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    https_asked: set[RegionId] | None = None
    https: dict[RegionId, float] = field(default_factory=dict)

    @property
    def udp(self) -> bool:
        return bool(self.seen[4] or self.seen[6])


def report_of(check: Check) -> Report:
    v4, v6 = check.latency[4], check.latency[6]
    regions = {*v4, *v6}
    latency = {region: min(known[region] for known in (v4, v6) if region in known) for region in regions}
    for region, seconds in check.https.items():
        latency.setdefault(region, seconds)
    mapped = set(check.mapped_at.values())
    return Report(
        udp=check.udp,
        ipv4=bool(v4),
        ipv6=bool(v6),
        ipv4_can_send=check.sent[4] > check.failed[4],
        ipv6_can_send=check.sent[6] > check.failed[6],
        mapping_varies_by_dest_ip=len(mapped) > 1 if len(check.mapped_at) > 1 else None,
        region_latency=latency,
        region_v4_latency=dict(v4),
        region_v6_latency=dict(v6),
        global_v4=check.first_v4,
        global_v6=check.last_v6,
        counters_v4=dict(check.seen[4]),
        counters_v6=dict(check.seen[6]),
    )
