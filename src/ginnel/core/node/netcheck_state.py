"""One running net check: what was asked, what was answered, and the report that follows from it.

Room: core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field

from ginnel.core.node.netcheck_plan import Probe
from ginnel.core.node.netcheck_report import Report
from ginnel.words import Endpoint, Instant, IpAddress, RegionId

AFTER_LAST_TRY = 1.0  # a short check whose every probe is sent waits no longer: its servers have answered before
LAST_ANSWERS_MIN = 0.05
MAPPING_PATIENCE = 0.25  # in a full check, for a second server's answer: the NAT's kind is worth more than the time


@dataclass(slots=True)
class Fallback:
    """What is tried beside a silent UDP. `asked` and `pinged` have not answered yet."""

    asked: set[RegionId] = field(default_factory=set)
    pinged: set[RegionId] = field(default_factory=set)
    https: dict[RegionId, float] = field(default_factory=dict)
    icmp: dict[RegionId, float] = field(default_factory=dict)
    versions: set[int] = field(default_factory=set)  # of IP, in which HTTPS went through

    def latency(self) -> dict[RegionId, float]:
        """By HTTPS, and by ICMP if that was faster. A relay that answers pings alone carries nothing: it counts where
        no other is to be had."""
        if not self.https:
            return dict(self.icmp)
        return {region: min(seconds, self.icmp.get(region, seconds)) for region, seconds in self.https.items()}


@dataclass(slots=True)
class Check:
    """One running check."""

    began: Instant
    full: bool
    probes: list[Probe]  # not sent yet, by delay
    ends_at: Instant
    regions: frozenset[RegionId]
    groups: set[int]  # not answered yet
    own: Collection[IpAddress] = ()  # what is seen there came through no NAT
    enough: int = 3  # regions whose answers end the check
    waiting: list[Probe] = field(default_factory=list)  # due, and the server's name is not resolved yet
    open: dict[bytes, tuple[Probe, Endpoint, Instant]] = field(default_factory=dict)
    latency: dict[int, dict[RegionId, float]] = field(default_factory=lambda: {4: {}, 6: {}})
    seen: dict[int, Counter[Endpoint]] = field(default_factory=lambda: {4: Counter(), 6: Counter()})
    last_v6: Endpoint | None = None
    mapped_at: dict[Endpoint, Endpoint] = field(default_factory=dict)  # IPv4 server -> what it saw last
    sent: Counter[int] = field(default_factory=Counter)
    failed: Counter[int] = field(default_factory=Counter)
    fallback: Fallback | None = None

    @property
    def udp(self) -> bool:
        return bool(self.seen[4] or self.seen[6])

    def note(self, probe: Probe, server: Endpoint, mapped: Endpoint, latency: float, now: Instant) -> None:
        """A STUN answer. Enough of them end the check soon."""
        version = 4 if mapped.is_v4 else 6
        self._done(probe.group)
        known = self.latency[version]
        known[probe.region] = min(latency, known.get(probe.region, latency))
        self.seen[version][mapped] += 1
        if version == 4:
            self.mapped_at[server] = mapped
        else:
            self.last_v6 = mapped
        if len({*self.latency[4], *self.latency[6]}) >= min(self.enough, len(self.regions)):
            self.ends_at = min(self.ends_at, Instant(now + self._patience()))

    def _done(self, group: int) -> None:
        self.groups.discard(group)
        self.probes = [other for other in self.probes if other.group != group]

    def _patience(self) -> float:
        slowest = max([*self.latency[4].values(), *self.latency[6].values()])
        patience = max(LAST_ANSWERS_MIN, slowest * (2 if self.full else 1))
        return max(patience, MAPPING_PATIENCE) if self.full and self._second_may_answer() else patience

    def _second_may_answer(self) -> bool:
        asked = (server.ip for probe, server, _ in self.open.values() if probe.group in self.groups)
        return self.varies() is None and any(
            ip.version == 4 and ip not in {server.ip for server in self.mapped_at} for ip in asked
        )

    def due(self, now: Instant) -> list[Probe]:
        """Take the probes whose time has come, but for retransmissions that would tell nothing new."""
        due: list[Probe] = []
        while self.probes and now >= self.began + self.probes[0].delay:
            probe = self.probes.pop(0)
            if probe.delay == 0 or self._would_tell(probe):
                due.append(probe)
            else:
                self._done(probe.group)
        if due and not self.probes and not self.full:
            self.ends_at = min(self.ends_at, Instant(now + AFTER_LAST_TRY))
        return due

    def _would_tell(self, probe: Probe) -> bool:
        if probe.region not in self.latency[4] and probe.region not in self.latency[6]:
            return True
        return self.varies() is None if probe.version == 4 else not self.latency[6]

    def varies(self) -> bool | None:
        """Whether servers see us at different addresses. Two answers of one server prove nothing; and a server in our
        own network, which sees our own address, says nothing of the NAT before the others."""
        behind_nat = {server: mapped for server, mapped in self.mapped_at.items() if mapped.ip not in self.own}
        judged = behind_nat or self.mapped_at
        if len(set(judged.values())) > 1:
            return True
        return False if len({server.ip for server in judged}) > 1 else None

    def global_v4(self) -> Endpoint | None:
        """Where we were seen first; beyond a NAT if that was seen at all."""
        first = next(iter(self.seen[4]), None)
        return next((mapped for mapped in self.seen[4] if mapped.ip not in self.own), first)

    def report(self) -> Report:
        v4, v6 = self.latency[4], self.latency[6]
        aside = self.fallback or Fallback()
        latency = {region: min(known[region] for known in (v4, v6) if region in known) for region in {*v4, *v6}}
        return Report(
            udp=self.udp,
            ipv4=bool(v4) or 4 in aside.versions or bool(aside.icmp),
            ipv6=bool(v6) or 6 in aside.versions,
            ipv4_can_send=self.sent[4] > self.failed[4],
            ipv6_can_send=self.sent[6] > self.failed[6],
            icmpv4=bool(aside.icmp),
            mapping_varies_by_dest_ip=self.varies(),
            region_latency=aside.latency() | latency,
            region_v4_latency=dict(v4),
            region_v6_latency=dict(v6),
            global_v4=self.global_v4(),
            global_v6=self.last_v6,
            counters_v4=dict(self.seen[4]),
            counters_v6=dict(self.seen[6]),
        )
