"""Finding out what network we are in: our own public addresses, the NAT's kind, the way to each relay
(tailscale: net/netcheck/netcheck.go).

Room: core. One check at a time: STUN from the tunnel's own socket, then HTTPS where UDP seems dead. Answers count
for an open transaction, from the server that was asked.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ginnel.core.node.actions import Action, MeasureHttps, SendUdp
from ginnel.core.node.names import Names, verify_of
from ginnel.core.node.netcheck_plan import Probe, full_plan, incremental_plan, measured_regions, relay_nodes
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.netcheck_state import Check, report_of
from ginnel.wire import stun
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import Endpoint, Instant, RegionId

# Tailscale's
REPORT_LIMIT = 5.0
STUN_LIMIT = 3.0
ENOUGH_REGIONS = 3
FULL_REPORT_INTERVAL = 300.0
HISTORY_KEPT = 305.0
# ours
HTTPS_AFTER = 1.0  # without any STUN answer: ask by HTTPS beside it
UDP_DEAD_AFTER = 1.5  # UDP silent and every HTTPS answer there: a home is worth more than certainty
LAST_ANSWERS_MIN = 0.05


@dataclass(frozen=True, slots=True)
class AddressSeen:
    """A STUN server saw us here."""

    endpoint: Endpoint


@dataclass(frozen=True, slots=True)
class CheckDone:
    """The check is over; its report names no home region yet."""

    report: Report


CheckAction = Action | AddressSeen | CheckDone


class Netcheck:
    """`running` is None between checks. `history`: (when, latency by region) of the last minutes."""

    def __init__(self, names: Names, entropy: Callable[[int], bytes]) -> None:
        self._names = names
        self._entropy = entropy
        self._map = DERPMap()
        self._check: Check | None = None
        self._last_full: Instant | None = None
        self.history: list[tuple[Instant, dict[RegionId, float]]] = []

    @property
    def running(self) -> bool:
        return self._check is not None

    @property
    def running_full(self) -> bool:
        return self._check is not None and self._check.full

    def start(
        self, derp_map: DERPMap, versions: tuple[int, ...], home: RegionId, now: Instant, *, full: bool = False
    ) -> list[CheckAction]:
        """Begin a check with these IP versions (none: only HTTPS); one that runs is given up. Only a full check asks
        by HTTPS: while UDP stays dead, the relays needn't be dialed again every few seconds to learn that."""
        latency = self.history[-1][1] if self.history else {}
        due = self._last_full is None or now - self._last_full >= FULL_REPORT_INTERVAL
        full = full or due or not latency
        if full:
            self._last_full = now
        probes = full_plan(derp_map, versions) if full else incremental_plan(derp_map, versions, latency, home)
        self._map = derp_map
        self._check = Check(
            began=now,
            full=full,
            probes=probes,
            ends_at=Instant(now + STUN_LIMIT),
            regions=frozenset(probe.region for probe in probes),
            groups={probe.group for probe in probes},
            by_https=full,
        )
        lookups: list[CheckAction] = [
            lookup
            for region in measured_regions(derp_map)
            for node in region.nodes or ()
            for lookup in self._names.lookups(node, now)
        ]
        return [*lookups, *self.tick(now)]

    def abandon(self) -> None:
        self._check = None

    # --- answers ---

    def stun_received(self, source: Endpoint, packet: bytes, now: Instant) -> list[CheckAction] | None:
        """None: not an answer to anything asked."""
        check = self._check
        try:
            answer = stun.parse_binding_success(packet)
        except WireError:
            return None
        asked = check.open.get(answer.transaction_id) if check is not None else None
        if check is None or asked is None or asked[1] != source or answer.mapped.ip.is_unspecified:
            return None
        del check.open[answer.transaction_id]
        probe, server, sent_at = asked
        self._note(check, probe, server, answer.mapped, now - sent_at)
        if len(set(check.latency[4]) | set(check.latency[6])) >= min(ENOUGH_REGIONS, len(check.regions)):
            slowest = max([*check.latency[4].values(), *check.latency[6].values()])
            patience = max(LAST_ANSWERS_MIN, slowest * (2 if check.full else 1))
            check.ends_at = min(check.ends_at, Instant(now + patience))
        return [AddressSeen(answer.mapped), *self._finish_if_over(now)]

    def _note(self, check: Check, probe: Probe, server: Endpoint, mapped: Endpoint, latency: float) -> None:
        version = 4 if mapped.is_v4 else 6
        check.groups.discard(probe.group)
        check.probes = [other for other in check.probes if other.group != probe.group]
        known = check.latency[version]
        known[probe.region] = min(latency, known.get(probe.region, latency))
        check.seen[version][mapped] += 1
        if version == 4:
            check.first_v4 = check.first_v4 or mapped
            check.mapped_at[server.ip] = mapped
        else:
            check.last_v6 = mapped

    def unsendable(self, to: Endpoint) -> None:
        if self._check is not None and any(server == to for _, server, _ in self._check.open.values()):
            self._check.failed[to.ip.version] += 1

    def latency_measured(self, region: RegionId, seconds: float | None, now: Instant) -> list[CheckAction]:
        check = self._check
        if check is None or check.https_asked is None or region not in check.https_asked:
            return []
        check.https_asked.discard(region)
        if seconds is not None and seconds >= 0:
            check.https[region] = seconds
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
        if check.https_asked is None:
            return HTTPS_AFTER
        if check.https_asked:
            return REPORT_LIMIT
        return UDP_DEAD_AFTER if check.https or not check.by_https else STUN_LIMIT

    def tick(self, now: Instant) -> list[CheckAction]:
        check = self._check
        if check is None:
            return []
        actions: list[CheckAction] = []
        while check.probes and now >= check.began + check.probes[0].delay:
            actions += self._send(check, check.probes.pop(0), now)
        if not check.udp and check.https_asked is None and (now >= check.began + HTTPS_AFTER or not check.groups):
            actions += self._ask_https(check)
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

    def _ask_https(self, check: Check) -> list[CheckAction]:
        check.https_asked = set()
        actions: list[CheckAction] = []
        for region in measured_regions(self._map) if check.by_https else ():
            node = relay_nodes(region)[0]
            addresses = self._names.derp_addresses(node)
            if addresses and not region.avoid:
                number = RegionId(region.region_id)
                check.https_asked.add(number)
                actions.append(MeasureHttps(number, node.host_name, addresses, verify_of(node)))
        return actions

    def _finish_if_over(self, now: Instant) -> list[CheckAction]:
        check = self._check
        if check is None or not self._over(check, now):
            return []
        self._check = None
        report = report_of(check)
        self.history = [(at, held) for at, held in self.history if now - at < HISTORY_KEPT]
        if report.region_latency:
            self.history.append((now, report.region_latency))
        return [CheckDone(report)]

    def _over(self, check: Check, now: Instant) -> bool:
        if check.udp:
            return not check.groups or now >= check.ends_at
        asked_all = check.https_asked is not None and not check.https_asked
        if asked_all and (check.https or not check.by_https) and now >= check.began + UDP_DEAD_AFTER:
            return True
        return now >= check.began + REPORT_LIMIT or (asked_all and now >= check.began + STUN_LIMIT)
