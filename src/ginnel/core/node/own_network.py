"""Our own place in the network: endpoints, net checks, the home region, and what control is told of them.

Room: core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import msgspec

from ginnel.core.node.actions import Action, NetcheckDone, ReportToControl
from ginnel.core.node.constants import (
    HOME_TOLD_AFTER,
    RESTUN_MAX,
    RESTUN_MIN,
    RESTUN_WITHOUT_UDP,
    SESSION_ACTIVE_TIMEOUT,
)
from ginnel.core.node.endpoints import OwnEndpoint, OwnEndpoints
from ginnel.core.node.home_region import NO_REGION, choose_home
from ginnel.core.node.names import Names
from ginnel.core.node.netcheck import AddressSeen, CheckAction, CheckDone, Netcheck, Report, net_latencies
from ginnel.core.node.netcheck_plan import measured_regions
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.relays import Relays
from ginnel.wire.tailcfg import DERPMap, NetInfo
from ginnel.words import Endpoint, Instant, RegionId


class OwnNetwork:
    """`endpoints_at`: when they were last confirmed. `list`: (endpoint, type), best first."""

    def __init__(
        self,
        relays: Relays,
        names: Names,
        entropy: Callable[[int], bytes],
        *,
        static: Sequence[Endpoint] = (),
        only_tcp_443: bool = False,
    ) -> None:
        self.endpoints = OwnEndpoints(static)
        self.list: tuple[OwnEndpoint, ...] = ()
        self.endpoints_at: Instant = NEVER
        self.report: Report | None = None
        self.control_connected = True
        self._relays = relays
        self._names = names
        self._entropy = entropy
        self._only_tcp_443 = only_tcp_443
        self._netcheck = Netcheck(names, entropy)
        self._map = DERPMap()
        self._asked_full: list[int] = []
        self._again = False
        self._restun_at: Instant | None = None
        self._last_activity: Instant = NEVER
        self._told: ReportToControl | None = None
        self._tell_home_at: Instant | None = None

    @property
    def checking(self) -> bool:
        return self._netcheck.running

    def stun_servers(self) -> list[Endpoint]:
        """Over IPv4, nearest region first, each address once."""
        latency = self.report.region_v4_latency if self.report is not None else {}
        regions = sorted(measured_regions(self._map), key=lambda r: latency.get(RegionId(r.region_id), float("inf")))
        found = {
            server.ip: server
            for region in reversed(regions)
            for node in reversed(region.nodes or [])
            if node.stun_port >= 0 and (server := self._names.stun_address(node, 4)) is not None
        }
        return list(reversed(found.values()))

    # --- inputs ---

    def map_changed(self, derp_map: DERPMap, now: Instant) -> list[Action]:
        """The first relay that can be home is home at once if it is the only one: nothing needs measuring."""
        self._map = derp_map
        actions = self._relays.map_changed(derp_map, now)
        if self._relays.home == NO_REGION and (only := self._relays.only_choice()):
            actions += self._relays.set_home(only, now)
            if self.report is None:
                self._tell_home_at = Instant(now + HOME_TOLD_AFTER)
        return [*actions, *self.check(now, full=True)]

    def active(self, now: Instant) -> None:
        """Traffic goes out: endpoints are kept fresh from now on."""
        self._last_activity = now
        if self._restun_at is None:
            self._restun_at = self._next_restun(now)

    def check(self, now: Instant, *, full: bool = False) -> list[Action]:
        """Look at the network anew. While a check runs, one more is noted for after it."""
        if self._netcheck.running:
            self._again = True
            return []
        if not measured_regions(self._map) or not self.endpoints.ports_known:
            return self._refresh(now)
        versions = () if self._only_tcp_443 else self.endpoints.ip_versions()
        return self._follow(self._netcheck.start(self._map, versions, self._relays.home, now, full=full), now)

    def forget_mappings(self) -> None:
        """The network is another one: until it has been looked at, no endpoint of ours is fresh."""
        self.endpoints.forget_mappings()
        self.endpoints_at = NEVER

    def restart_check(self, now: Instant) -> list[Action]:
        """The network is another one: what runs measures the old one."""
        self._netcheck.abandon()
        return self.check(now, full=True)

    def requested(self, request: int, now: Instant) -> list[Action]:
        """`ginnel netcheck`."""
        self._asked_full.append(request)
        if self._netcheck.running_full:
            return []
        self._netcheck.abandon()
        if not measured_regions(self._map):
            return self._answer(Report())
        return self.check(now, full=True)

    def stun_received(self, source: Endpoint, packet: bytes, now: Instant) -> list[Action] | None:
        followed = self._netcheck.stun_received(source, packet, now)
        return None if followed is None else self._follow(followed, now)

    def latency_measured(self, region: RegionId, seconds: float | None, now: Instant) -> list[Action]:
        return self._follow(self._netcheck.latency_measured(region, seconds, now), now)

    def resolved(self, now: Instant) -> list[Action]:
        return self._follow(self._netcheck.resolved(now), now)

    def unsendable(self, to: Endpoint) -> None:
        self._netcheck.unsendable(to)

    # --- time ---

    def next_timeout(self) -> Instant | None:
        times = (self._netcheck.next_timeout(), self._restun_at, self._tell_home_at)
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: Instant) -> list[Action]:
        actions = self._follow(self._netcheck.tick(now), now)
        if self._restun_at is not None and self._restun_at <= now:
            self._restun_at = None
            if now - self._last_activity < SESSION_ACTIVE_TIMEOUT:
                self._restun_at = self._next_restun(now)
                actions += self.check(now)
        if self._tell_home_at is not None and self._tell_home_at <= now:
            self._tell_home_at = None
            actions += self._refresh(now)
        return actions

    def _next_restun(self, now: Instant) -> Instant:
        if self.report is not None and not self.report.udp:
            return Instant(now + RESTUN_WITHOUT_UDP)
        return Instant(now + RESTUN_MIN + (RESTUN_MAX - RESTUN_MIN) * self._entropy(1)[0] / 255)

    # --- what a check says ---

    def _follow(self, actions: Sequence[CheckAction], now: Instant) -> list[Action]:
        done: list[Action] = []
        for action in actions:
            match action:
                case AddressSeen(endpoint):
                    self.endpoints.seen(endpoint, now)
                    if endpoint.is_v4 or 4 not in self.endpoints.ip_versions():
                        self._gather(now)
                case CheckDone(report):
                    done += self._checked(report, now)
                case _:
                    done.append(action)
        return done

    def _checked(self, report: Report, now: Instant) -> list[Action]:
        self.endpoints.checked(report, now)
        home = self._choose_home(report)
        self.report = dataclasses.replace(report, preferred_derp=home)
        actions = [*self._relays.set_home(home, now), *self._refresh(now), *self._answer(self.report)]
        if self._again:
            self._again = False
            actions += self.check(now)
        return actions

    def _choose_home(self, report: Report) -> RegionId:
        """No change while control does not hear of it, except when there is no home at all."""
        home = self._relays.home
        regions = measured_regions(self._map)
        known = {RegionId(region.region_id) for region in regions}
        if home in known and not self.control_connected:
            return home
        dead = self._relays.failing() if len(known) > 1 else frozenset()
        chosen = choose_home(
            {region: seconds for region, seconds in report.region_latency.items() if region in known - dead},
            [latencies for _, latencies in self._netcheck.history],
            home if home in known - dead else NO_REGION,
            scores=self._map.home_params.region_score if self._map.home_params is not None else None,
            avoid={RegionId(region.region_id) for region in regions if region.avoid},
            home_alive=self._relays.up(home),
        )
        if chosen != NO_REGION or not known:
            return chosen
        fallback = sorted(known - dead or known)
        return fallback[self._entropy(1)[0] % len(fallback)]

    def _refresh(self, now: Instant) -> list[Action]:
        """What control should know, if that is news. Before the first report there is a home to tell, or nothing."""
        self._gather(now)
        if self.report is None and (self._tell_home_at is not None or self._relays.home == NO_REGION):
            return []
        self._tell_home_at = None
        report = ReportToControl(
            self._net_info(self.report) if self.report is not None else NetInfo(preferred_derp=self._relays.home),
            tuple(endpoint for endpoint, _ in self.list),
            tuple(kind for _, kind in self.list),
        )
        if self._told is not None and _same(self._told, report):
            return []
        self._told = report
        return [report]

    def _gather(self, now: Instant) -> None:
        self.list = self.endpoints.gather(now)
        if self.list:
            self.endpoints_at = now

    def _net_info(self, report: Report) -> NetInfo:
        return NetInfo(
            mapping_varies_by_dest_ip=report.mapping_varies_by_dest_ip,
            working_ipv6=report.ipv6,
            os_has_ipv6=report.os_has_ipv6,
            working_udp=report.udp,
            working_icmpv4=report.icmpv4,
            have_port_map=self.endpoints.port_mapped is not None,
            upnp=report.upnp,
            pmp=report.pmp,
            pcp=report.pcp,
            preferred_derp=self._relays.home,
            derp_latency=dict(net_latencies(report)),
        )

    def _answer(self, report: Report) -> list[Action]:
        asked, self._asked_full = self._asked_full, []
        return [NetcheckDone(request, report) for request in asked]


def _same(before: ReportToControl, after: ReportToControl) -> bool:
    """Latencies alone, or another order of the endpoints, are no news."""
    silent = {"derp_latency": None}
    return set(zip(before.endpoints, before.types, strict=True)) == set(
        zip(after.endpoints, after.types, strict=True)
    ) and msgspec.structs.replace(before.net_info, **silent) == msgspec.structs.replace(after.net_info, **silent)
