"""Our own place in the network: endpoints, net checks, the home region, and what control is told of them.

Room: core.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from ginnel.core.node.actions import Action, NetcheckDone
from ginnel.core.node.captive import Captive, PortalAction, detection_allowed
from ginnel.core.node.constants import (
    CONFIRM_GAP,
    HOME_CHECK_AFTER,
    HOME_CHECK_SPREAD,
    MAP_CHECK_SPREAD,
    RESTUN_MAX,
    RESTUN_MIN,
    RESTUN_WITHOUT_UDP,
    SESSION_ACTIVE_TIMEOUT,
)
from ginnel.core.node.endpoints import OwnEndpoint, OwnEndpoints
from ginnel.core.node.home_region import NO_REGION
from ginnel.core.node.names import Names
from ginnel.core.node.netcheck import ENOUGH_REGIONS, AddressSeen, CheckAction, CheckDone, Netcheck, UdpSilent
from ginnel.core.node.netcheck_plan import measured_regions, stun_servers
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.own_home import home_after
from ginnel.core.node.path_actions import NEVER
from ginnel.core.node.portmap.actions import PortMapped
from ginnel.core.node.relays import Relays
from ginnel.core.node.telling import Telling
from ginnel.wire.tailcfg import DERPMap, Node
from ginnel.words import Endpoint, Instant, RegionId

FULL_GAP = 10.0  # between full checks for a home that is lost
GOT_THROUGH = 5.0  # how long an HTTPS answer of a relay shows that the way is free


class OwnNetwork:
    """`endpoints_at`: when they were last confirmed. `list`: (endpoint, type), best first. `mapping_varies`: whether
    our NAT is a hard one, by the last check in this network that could tell."""

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
        self._confirmed_at: Instant = NEVER
        self.report: Report | None = None
        self.mapping_varies: bool | None = None
        self.control_connected = True
        self._relays = relays
        self._names = names
        self._entropy = entropy
        self._only_tcp_443 = only_tcp_443
        self._netcheck = Netcheck(names, entropy)
        self._captive = Captive(entropy, self._gets_through)
        self._port_services: tuple[bool | None, bool | None, bool | None] = (None, None, None)
        self._https_at: Instant = NEVER
        self._enough = ENOUGH_REGIONS
        self._map = DERPMap()
        self._asked: list[int] = []
        self._again = False
        self._restun_at: Instant | None = None
        self._last_activity: Instant = NEVER
        self._telling = Telling()
        self._look_at_map: Instant | None = None
        self._look_for_home: Instant | None = None

    @property
    def checking(self) -> bool:
        return self._netcheck.running

    def stun_servers(self) -> list[Endpoint]:
        """Over IPv4, nearest region first, each address once."""
        return stun_servers(self._map, self._names, self.report.region_v4_latency if self.report is not None else {})

    # --- inputs ---

    def map_changed(self, derp_map: DERPMap, now: Instant) -> list[Action]:
        """The first relay that can be home is home at once if it is the only one: nothing needs measuring."""
        self._map = derp_map
        self._captive.map_changed(derp_map)
        actions = self._relays.map_changed(derp_map, now)
        if self._relays.home == NO_REGION and (only := self._relays.only_choice()):
            actions += self._relays.set_home(only, now)
            if self.report is None:
                self._telling.home_is_clear(now)
        if self.report is not None and self._relays.up(self._relays.home):
            self._look_at_map = Instant(now + MAP_CHECK_SPREAD * self._chance())
            return actions
        return [*actions, *self.check(now, full=True)]

    def home_lost(self, now: Instant) -> None:
        """Its connection ended. It may be a restart, so it has a moment to come back."""
        if self._look_for_home is None:
            self._look_for_home = Instant(now + HOME_CHECK_AFTER + HOME_CHECK_SPREAD * self._chance())

    def policy_changed(self, own_node: Node | None) -> list[Action]:
        """Our own entry in the map has other attributes."""
        return list(self._captive.policy_changed(detection_allowed(own_node)))

    def port_services_found(self, *, upnp: bool | None, pmp: bool | None, pcp: bool | None) -> None:
        """What the router offers, for reports; None: not looked for."""
        self._port_services = (upnp, pmp, pcp)

    def settled(self, now: Instant) -> list[Action]:
        """After each input of the mesh: a server or a home relay that went away may be a portal's doing."""
        home = self._relays.home
        connected = home == NO_REGION or (self._relays.up(home) and self.control_connected)
        return list(self._captive.connectivity(connected, home, now))

    def active(self, now: Instant) -> None:
        """Traffic goes out: endpoints are kept fresh from now on."""
        self._last_activity = now
        if self._restun_at is None:
            self._restun_at = self._next_restun(now)

    def is_active(self, now: Instant) -> bool:
        return now - self._last_activity < SESSION_ACTIVE_TIMEOUT

    def port_mapped(self, news: PortMapped, now: Instant) -> list[Action]:
        """What the home router does for us."""
        self.port_services_found(upnp=news.upnp, pmp=news.pmp, pcp=news.pcp)
        self.endpoints.port_mapped_to(news.external)
        if self.report is not None:
            self.report = dataclasses.replace(self.report, upnp=news.upnp, pmp=news.pmp, pcp=news.pcp)
        return self._refresh(now)

    def check(self, now: Instant, *, full: bool = False) -> list[Action]:
        """Look at the network anew. While a check runs, one more is noted for after it."""
        if self._netcheck.running:
            self._again = True
            return []
        if not measured_regions(self._map) or not self.endpoints.ports_known:
            return self._refresh(now)
        versions = () if self._only_tcp_443 else self.endpoints.ip_versions()
        started = self._netcheck.start(
            self._map,
            versions,
            self._relays.home,
            now,
            full=full or self._home_is_lost(now),
            own=self.endpoints.own_ips(),
            enough=self._enough if self._asked else ENOUGH_REGIONS,
        )
        return self._follow(started, now)

    def _home_is_lost(self, now: Instant) -> bool:
        """Without UDP only a full check finds another home."""
        silent = self.report is not None and not self.report.udp
        return silent and not self._relays.up(self._relays.home) and self._netcheck.full_was_before(now - FULL_GAP)

    def forget_mappings(self) -> None:
        """The network is another one: until it has been looked at, no endpoint of ours is fresh."""
        self.endpoints.forget_mappings()
        self.endpoints_at = NEVER

    def confirm(self, now: Instant) -> list[Action]:
        """A path was lost, perhaps for want of a mapping of ours: no endpoint is fresh until STUN has said so again."""
        if now - self._confirmed_at < CONFIRM_GAP:
            return []
        self._confirmed_at = now
        self.endpoints_at = NEVER
        return self.check(now)

    def restart_check(self, now: Instant) -> list[Action]:
        """The network is another one: what runs measures the old one."""
        self._netcheck.another_network()
        self.mapping_varies = None
        return [*self._captive.network_changed(), *self.check(now, full=True)]

    def requested(self, request: int, now: Instant, *, full: bool = True, enough: int = ENOUGH_REGIONS) -> list[Action]:
        """`ginnel netcheck`. `enough`: regions whose answers end the check."""
        full = full or (self.report is not None and not self.report.udp)  # a short one would find nothing to say
        self._asked.append(request)
        self._enough = max(enough, self._enough if len(self._asked) > 1 else 0)
        if self._netcheck.running_full or (self._netcheck.running and not full):
            # it looked for a portal, if at all, before anybody asked
            return list(self._captive.check(now, force=True)) if self._netcheck.fell_back else []
        self._netcheck.abandon()
        if not measured_regions(self._map):
            return self._answer(Report())
        return self.check(now, full=full)

    def stun_received(self, source: Endpoint, packet: bytes, now: Instant) -> list[Action] | None:
        followed = self._netcheck.stun_received(source, packet, now)
        return None if followed is None else self._follow(followed, now)

    def latency_measured(
        self, region: RegionId, seconds: float | None, now: Instant, *, version: int = 0
    ) -> list[Action]:
        if seconds is not None:
            self._https_at = now
        return self._follow(self._netcheck.latency_measured(region, seconds, now, version=version), now)

    def icmp_measured(self, region: RegionId, seconds: float | None, now: Instant) -> list[Action]:
        return self._follow(self._netcheck.icmp_measured(region, seconds, now), now)

    def port80_answered(self, number: int, answer: bytes, now: Instant) -> list[Action]:
        return self._portal(self._captive.answered(number, answer, now))

    def resolved(self, now: Instant) -> list[Action]:
        return self._follow(self._netcheck.resolved(now), now)

    def unsendable(self, to: Endpoint) -> None:
        self._netcheck.unsendable(to)

    # --- time ---

    def next_timeout(self) -> Instant | None:
        times = (
            self._netcheck.next_timeout(),
            self._captive.next_timeout(),
            self._restun_at,
            self._telling.due,
            self._look_at_map,
            self._look_for_home,
        )
        return min((at for at in times if at is not None), default=None)

    def tick(self, now: Instant) -> list[Action]:
        actions = self._follow(self._netcheck.tick(now), now)
        actions += self._portal(self._captive.tick(now))
        if self._restun_at is not None and self._restun_at <= now:
            self._restun_at = None
            if self.is_active(now):
                self._restun_at = self._next_restun(now)
                actions += self.check(now)
        if self._telling.due is not None and self._telling.due <= now:
            self._telling.due = None
            actions += self._refresh(now)
        if self._look_at_map is not None and self._look_at_map <= now:
            self._look_at_map = None
            actions += self.check(now, full=True)
        if self._look_for_home is not None and self._look_for_home <= now:
            self._look_for_home = None
            actions += self.check(now) if not self._relays.up(self._relays.home) else []
        return actions

    def _chance(self) -> float:
        """0 to 1."""
        return self._entropy(1)[0] / 255

    def _next_restun(self, now: Instant) -> Instant:
        if self.report is not None and not self.report.udp:
            return Instant(now + RESTUN_WITHOUT_UDP)
        return Instant(now + RESTUN_MIN + (RESTUN_MAX - RESTUN_MIN) * self._chance())

    # --- what a check says ---

    def _follow(self, actions: Sequence[CheckAction], now: Instant) -> list[Action]:
        done: list[Action] = []
        for action in actions:
            match action:
                case AddressSeen(endpoint):
                    self.endpoints.seen(endpoint, now)
                    if endpoint.is_v4 or 4 not in self.endpoints.ip_versions():
                        self._gather(now)
                    done += self._captive.udp_works(now)
                case UdpSilent():
                    done += self._captive.check(now, force=bool(self._asked))
                case CheckDone(report):
                    done += self._checked(report, now)
                case _:
                    done.append(action)
        return done

    def _checked(self, report: Report, now: Instant) -> list[Action]:
        self.endpoints.checked(report, now)
        if report.mapping_varies_by_dest_ip is not None:
            self.mapping_varies = report.mapping_varies_by_dest_ip
        history = [latencies for _, latencies in self._netcheck.history]
        connected, entropy = self.control_connected, self._entropy
        home = home_after(report, self._map, self._relays, history, now, entropy=entropy, control_connected=connected)
        upnp, pmp, pcp = self._port_services
        self.report = dataclasses.replace(
            self._with_portal(report),
            preferred_derp=home,
            os_has_ipv6=self.endpoints.port_v6 != 0,
            upnp=upnp,
            pmp=pmp,
            pcp=pcp,
        )
        actions = [*self._relays.set_home(home, now), *self._refresh(now), *self._answer(self.report)]
        if self._again:
            self._again = False
            actions += self.check(now)
        return actions

    def _with_portal(self, report: Report) -> Report:
        """Where UDP works nobody looked for a portal."""
        if report.udp:
            return report
        return dataclasses.replace(
            report, captive_portal=self._captive.verdict, captive_filtered=self._captive.filtered
        )

    def _portal(self, actions: Sequence[PortalAction]) -> list[Action]:
        """The verdict belongs into the report, and into the answers that wait for it."""
        if self.report is None or self._captive.asking or self._netcheck.running:
            return list(actions)
        self.report = self._with_portal(self.report)
        return [*actions, *self._answer(self.report)]

    def _gets_through(self, now: Instant) -> bool:
        """Whether a relay is reached just now."""
        return bool(self._relays.connected()) or now - self._https_at < GOT_THROUGH

    def _refresh(self, now: Instant) -> list[Action]:
        """What control should know, if that is news."""
        self._gather(now)
        mapped = self.endpoints.believed_port_map() is not None
        home = self._relays.home
        return list(self._telling.news(self.report, home, self.list, varies=self.mapping_varies, port_mapped=mapped))

    def _gather(self, now: Instant) -> None:
        self.list = self.endpoints.gather(now)
        if self.list:
            self.endpoints_at = now

    def _answer(self, report: Report) -> list[Action]:
        """Whoever asked waits for the word on a portal, too."""
        if self._captive.asking:
            return []
        asked, self._asked = self._asked, []
        return [NetcheckDone(request, report) for request in asked]
