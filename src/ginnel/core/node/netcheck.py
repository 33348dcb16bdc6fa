"""Finding out what network we are in: our own public addresses, the NAT's kind, the way to each relay
(tailscale: net/netcheck/netcheck.go).

Room: core. One check at a time: STUN from the tunnel's own socket, then HTTPS and ICMP where UDP seems dead. Answers
count for an open transaction, from the server that was asked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from ipaddress import IPv4Address

from ginnel.core.node.actions import Action, MeasureHttps, MeasureIcmp, SendUdp
from ginnel.core.node.addresses import in_tailnet
from ginnel.core.node.names import Names, verify_of
from ginnel.core.node.netcheck_plan import (
    Probe,
    asked_regions,
    full_plan,
    incremental_plan,
    measured_regions,
    relay_nodes,
)
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.netcheck_state import Check, Fallback
from ginnel.wire import stun
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap, DERPRegion
from ginnel.words import Endpoint, Instant, IpAddress, RegionId

# Tailscale's
REPORT_LIMIT = 5.0
STUN_LIMIT = 3.0
ENOUGH_REGIONS = 3
VERBOSE_REGIONS = 100
FULL_REPORT_INTERVAL = 300.0
HISTORY_KEPT = 305.0
# ours
HTTPS_AFTER = 1.0  # without any STUN answer: ask by HTTPS and ICMP beside it
UDP_DEAD_AFTER = 1.5  # UDP silent and every HTTPS answer there: a home is worth more than certainty
HISTORY_MAX = 256  # reports: somebody may ask for them without pause


@dataclass(frozen=True, slots=True)
class AddressSeen:
    """A STUN server saw us here."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class UdpSilent:
    """No STUN server has answered a full check for a while."""


@dataclass(frozen=True, slots=True)
class CheckDone:
    """The check is over; its report names no home region yet."""

    report: Report


CheckAction = Action | AddressSeen | UdpSilent | CheckDone


class Netcheck:
    """`history`: (when, latency by region) of the last minutes."""

    def __init__(self, names: Names, entropy: Callable[[int], bytes]) -> None:
        self._names = names
        self._entropy = entropy
        self._map = DERPMap()
        self._check: Check | None = None
        self._last_full: Instant | None = None
        self._v6_worked = False
        self.history: list[tuple[Instant, dict[RegionId, float]]] = []

    @property
    def running(self) -> bool:
        return self._check is not None

    @property
    def running_full(self) -> bool:
        return self._check is not None and self._check.full

    @property
    def fell_back(self) -> bool:
        """Whether the running check has found UDP silent."""
        return self._check is not None and self._check.fallback is not None

    def full_was_before(self, at: float) -> bool:
        """Whether the last full check began before that time."""
        return self._last_full is None or self._last_full < at

    def start(
        self,
        derp_map: DERPMap,
        versions: tuple[int, ...],
        home: RegionId,
        now: Instant,
        *,
        full: bool = False,
        own: Collection[IpAddress] = (),
        enough: int = ENOUGH_REGIONS,
    ) -> list[CheckAction]:
        """Begin a check with these IP versions (none: only HTTPS); one that runs is given up. Only a full check asks
        by HTTPS: while UDP stays dead, the relays needn't be dialed again every few seconds to learn that. `own`: this
        machine's addresses. `enough`: regions whose answers end the check."""
        latency = self.history[-1][1] if self.history else {}
        due = self._last_full is None or now - self._last_full >= FULL_REPORT_INTERVAL
        full = full or due or not latency
        if full:
            self._last_full = now
            probes = full_plan(derp_map, versions)
        else:
            probes = incremental_plan(derp_map, versions, latency, home, v6_worked=self._v6_worked)
        self._map = derp_map
        self._check = Check(
            began=now,
            full=full,
            probes=probes,
            ends_at=Instant(now + STUN_LIMIT),
            regions=frozenset(probe.region for probe in probes),
            groups={probe.group for probe in probes},
            own=own,
            enough=enough,
        )
        lookups: list[CheckAction] = [
            lookup
            for region in asked_regions(derp_map)
            for node in region.nodes or ()
            for lookup in self._names.lookups(node, now)
        ]
        return [*lookups, *self.tick(now)]

    def abandon(self) -> None:
        self._check = None

    def another_network(self) -> None:
        """What was measured counts no more."""
        self._check = None
        self.history.clear()

    # --- answers ---

    def stun_received(self, source: Endpoint, packet: bytes, now: Instant) -> list[CheckAction] | None:
        """None: not an answer to anything asked."""
        check = self._check
        try:
            answer = stun.parse_binding_success(packet)
        except WireError:
            return None
        asked = check.open.get(answer.transaction_id) if check is not None else None
        if check is None or asked is None or asked[1] != source or not _plausible(answer.mapped, source):
            return None
        del check.open[answer.transaction_id]
        probe, server, sent_at = asked
        check.note(probe, server, answer.mapped, now - sent_at, now)
        return [AddressSeen(answer.mapped), *self._finish_if_over(now)]

    def unsendable(self, to: Endpoint) -> None:
        if self._check is not None and any(server == to for _, server, _ in self._check.open.values()):
            self._check.failed[to.ip.version] += 1

    def latency_measured(
        self, region: RegionId, seconds: float | None, now: Instant, *, version: int = 0
    ) -> list[CheckAction]:
        """By HTTPS, over that version of IP (0: nobody knows)."""
        aside = self._check.fallback if self._check is not None else None
        if aside is None or region not in aside.asked:
            return []
        aside.asked.discard(region)
        if seconds is not None and seconds >= 0:
            aside.https[region] = seconds
            aside.versions.add(version)
        return self._finish_if_over(now)

    def icmp_measured(self, region: RegionId, seconds: float | None, now: Instant) -> list[CheckAction]:
        aside = self._check.fallback if self._check is not None else None
        if aside is None or region not in aside.pinged:
            return []
        aside.pinged.discard(region)
        if seconds is not None and seconds >= 0:
            aside.icmp[region] = seconds
        return self._finish_if_over(now)

    def resolved(self, now: Instant) -> list[CheckAction]:
        """Names have new addresses: ask whom we could not."""
        if self._check is None:
            return []
        late, self._check.waiting = self._check.waiting, []
        return [*(action for probe in late for action in self._send(self._check, probe, now)), *self.tick(now)]

    # --- time ---

    def next_timeout(self) -> Instant | None:
        check = self._check
        if check is None:
            return None
        times = [check.ends_at] if check.udp else [Instant(check.began + self._fallback_after(check))]
        if check.probes:
            times.append(Instant(check.began + check.probes[0].delay))
        return min(times)

    def _fallback_after(self, check: Check) -> float:
        """While UDP is silent: when the next thing is to be done about it."""
        if check.fallback is None:
            return HTTPS_AFTER
        if check.fallback.asked:
            return REPORT_LIMIT
        return UDP_DEAD_AFTER if check.fallback.https or not check.full else STUN_LIMIT

    def tick(self, now: Instant) -> list[CheckAction]:
        check = self._check
        if check is None:
            return []
        actions = [action for probe in check.due(now) for action in self._send(check, probe, now)]
        if not check.udp and check.fallback is None and (now >= check.began + HTTPS_AFTER or not check.groups):
            actions += self._fall_back(check)
        return [*actions, *self._finish_if_over(now)]

    def _send(self, check: Check, probe: Probe, now: Instant) -> list[CheckAction]:
        server = self._names.stun_address(probe.node, probe.version)
        if server is None:
            check.waiting.append(probe)
            return []
        tx_id = self._entropy(stun.TRANSACTION_ID_SIZE)
        check.open[tx_id] = (probe, server, now)
        check.sent[probe.version] += 1
        return [SendUdp(server, stun.binding_request(tx_id))]

    def _fall_back(self, check: Check) -> list[CheckAction]:
        """UDP says nothing: HTTPS to each region that may be home, and a ping beside it."""
        check.fallback = Fallback()
        if not check.full:
            return []
        actions: list[CheckAction] = [UdpSilent()] if check.sent else []
        for region in measured_regions(self._map):
            if not region.avoid:
                actions += self._ask_https(check.fallback, region)
                actions += self._ping(check.fallback, region) if check.sent[4] else []
        return actions

    def _ask_https(self, aside: Fallback, region: DERPRegion) -> list[CheckAction]:
        node = relay_nodes(region)[0]
        addresses = self._names.derp_addresses(node)
        if not addresses:
            return []
        aside.asked.add(number := RegionId(region.region_id))
        return [MeasureHttps(number, node.host_name, addresses, verify_of(node))]

    def _ping(self, aside: Fallback, region: DERPRegion) -> list[CheckAction]:
        """Not where the map switches STUN off, which says: do not measure."""
        node = relay_nodes(region)[0]
        ip = next((ip for ip in self._names.addresses(node) if isinstance(ip, IPv4Address)), None)
        if ip is None or node.stun_port < 0:
            return []
        aside.pinged.add(number := RegionId(region.region_id))
        return [MeasureIcmp(number, ip, node.name.encode()[:64] + self._entropy(8))]

    def _finish_if_over(self, now: Instant) -> list[CheckAction]:
        check = self._check
        if check is None or not self._over(check, now):
            return []
        self._check = None
        report = check.report()
        self._v6_worked = bool(report.region_v6_latency)
        self.history = [(at, held) for at, held in self.history if now - at < HISTORY_KEPT][-HISTORY_MAX:]
        if report.region_latency:
            self.history.append((now, report.region_latency))
        return [CheckDone(report)]

    def _over(self, check: Check, now: Instant) -> bool:
        if check.udp:
            return not check.groups or now >= check.ends_at
        aside = check.fallback
        asked_all = aside is not None and not aside.asked
        if aside is not None and asked_all and (aside.https or not check.full) and now >= check.began + UDP_DEAD_AFTER:
            return True
        return now >= check.began + REPORT_LIMIT or (asked_all and now >= check.began + STUN_LIMIT)


def _plausible(mapped: Endpoint, server: Endpoint) -> bool:
    """An address that we can have for that server: peers will be told it."""
    ip = mapped.ip
    if not mapped.port or ip.version != server.ip.version or ip.is_multicast or ip.is_unspecified:
        return False
    return (not ip.is_loopback or server.ip.is_loopback) and (ip.version == 4 or not in_tailnet(ip))
