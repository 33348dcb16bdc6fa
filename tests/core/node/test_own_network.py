"""What the member makes of its checks: home, portals, what control hears, and when nothing is sent at all."""

from __future__ import annotations

from ipaddress import IPv4Interface
from random import Random

import pytest

from ginnel.core.node.actions import (
    Action,
    AskPort80,
    EndpointType,
    Health,
    HealthCode,
    MeasureHttps,
    MeasureIcmp,
    NetcheckDone,
    ReportToControl,
    SendUdp,
)
from ginnel.core.node.captive import NO_DETECTION
from ginnel.core.node.constants import HOME_CHECK_AFTER, HOME_CHECK_SPREAD, MAP_CHECK_SPREAD
from ginnel.core.node.endpoints import LocalAddress
from ginnel.core.node.names import Names
from ginnel.core.node.netcheck_state import AFTER_LAST_TRY
from ginnel.core.node.own_home import KEEP_ALIVE_KEPT
from ginnel.core.node.own_network import OwnNetwork
from ginnel.core.node.portmap.actions import PortMapped
from ginnel.core.node.relays import Relays
from ginnel.wire import stun
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion, Node
from ginnel.words import Endpoint, Instant, NodePrivate, RegionId

T0 = Instant(1000.0)
MAPPED, OTHER = Endpoint.parse("198.51.100.1:41641"), Endpoint.parse("198.51.100.1:50000")
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\n\r\n"


def region(number: int) -> DERPRegion:
    node = DERPNode(
        f"{number}a", number, f"r{number}.example", ipv4=f"203.0.113.{number}", ipv6="none", can_port80=True
    )
    return DERPRegion(number, f"r{number}", f"R{number}", nodes=[node])


class Member:
    """The core with a clock, relays that answer as `rtt` says, and a list of what was sent."""

    def __init__(self, *numbers: int, udp: bool = True, https: bool = True) -> None:
        names = Names()
        self.relays = Relays(names, Random(2).randbytes)
        self.own = OwnNetwork(self.relays, names, Random(1).randbytes)
        self.now = T0
        self.udp, self.https = udp, https
        self.rtt = {number: 0.010 * number for number in numbers}
        self.mapped = dict.fromkeys(numbers, MAPPED)
        self.port80: bytes | None = None
        self.sent: list[Action] = []
        self.map = DERPMap(regions={number: region(number) for number in numbers})
        self.own.endpoints.interfaces_changed([LocalAddress("eth0", IPv4Interface("10.0.0.1/24"))])
        self.own.endpoints.port_bound(41641, 0, 41641)
        self.events: list[tuple[float, Action]] = []

    def start(self) -> None:
        self.relays.key_set(self.now)
        self.take(self.own.map_changed(self.map, self.now))

    def take(self, actions: list[Action]) -> None:
        for action in actions:
            self.sent.append(action)
            if isinstance(action, SendUdp) and self.udp:
                self.events.append((self.now + self.rtt[int(str(action.to.ip).split(".")[3])], action))
            elif isinstance(action, MeasureHttps | MeasureIcmp):
                self.events.append((self.now + self.rtt[action.region], action))
            elif isinstance(action, AskPort80) and self.port80 is not None:
                self.events.append((self.now + 0.02, action))
        self.events.sort(key=lambda event: event[0])

    def step(self, until: float) -> bool:
        at = self.own.next_timeout()
        soonest = min([*(at for at, _ in self.events[:1]), *([at] if at is not None else [])], default=None)
        if soonest is None or soonest > until:
            self.now = Instant(until)
            return False
        self.now = Instant(max(self.now, soonest))
        if self.events and self.events[0][0] <= soonest:
            self.answer(self.events.pop(0)[1])
        else:
            self.take(self.own.tick(self.now))
        return True

    def answer(self, action: Action) -> None:
        if isinstance(action, SendUdp):
            mapped = self.mapped[int(str(action.to.ip).split(".")[3])]
            packet = stun.binding_success(stun.parse_binding_request(action.packet), mapped)
            self.take(self.own.stun_received(action.to, packet, self.now) or [])
        elif isinstance(action, MeasureHttps):
            took = self.rtt[action.region] if self.https else None
            self.take(self.own.latency_measured(action.region, took, self.now, version=4))
        elif isinstance(action, MeasureIcmp):
            self.take(self.own.icmp_measured(action.region, None, self.now))
        elif isinstance(action, AskPort80):
            self.take(self.own.port80_answered(action.number, self.port80 or b"", self.now))

    def run(self, seconds: float) -> None:
        until = self.now + seconds
        for _ in range(10_000):
            if not self.step(until):
                return
        raise AssertionError("it never rests")

    def done(self, kind: type) -> list[Action]:
        return [action for action in self.sent if isinstance(action, kind)]

    def home_up(self) -> None:
        self.relays.went_up(self.relays.home)
        self.take(self.own.settled(self.now))

    def home_down(self) -> None:
        self.relays.went_down(self.relays.home, "gone", self.now)
        self.take(self.own.settled(self.now))


@pytest.fixture
def portal() -> Member:
    member = Member(1, 2, udp=False, https=False)
    member.port80 = REDIRECT
    return member


def told(member: Member) -> list[str | None]:
    return [a.text for a in member.sent if isinstance(a, Health) and a.code is HealthCode.CAPTIVE_PORTAL]


def test_udp_that_is_silent_in_a_full_check_leads_to_port_80_and_a_line(portal: Member) -> None:
    portal.start()
    portal.run(4)
    assert len(told(portal)) == 1
    assert portal.own.report is not None
    assert portal.own.report.captive_portal is True


def test_udp_that_works_leads_nobody_to_port_80() -> None:
    member = Member(1, 2)
    member.start()
    member.home_up()
    member.run(600)
    assert member.done(AskPort80) == []
    assert member.own.report is not None
    assert member.own.report.captive_portal is None


def test_who_asked_for_a_report_gets_the_verdict_with_it_and_home_does_not_wait_for_it() -> None:
    member = Member(1, 2, udp=False)
    member.start()
    member.take(member.own.requested(7, member.now))
    member.run(2.0)
    assert member.relays.home == 1
    assert member.done(NetcheckDone) == []
    member.run(2.2)
    (answer,) = member.done(NetcheckDone)
    assert isinstance(answer, NetcheckDone)
    assert (answer.id, answer.report.captive_portal, answer.report.captive_filtered) == (7, None, True)


def test_a_drop_of_port_80_is_tried_once_not_at_every_check() -> None:
    member = Member(1, 2, udp=False)
    member.start()
    member.run(5)
    member.home_up()
    for _ in range(20):
        member.own.active(member.now)
        member.run(10)
    assert len(member.done(AskPort80)) == 2


def test_a_broken_home_relay_is_looked_into_after_two_seconds() -> None:
    member = Member(1, 2)
    member.port80 = REDIRECT
    member.start()
    member.home_up()
    member.run(5)
    member.udp = False
    member.home_down()
    member.run(1.9)
    assert member.done(AskPort80) == []
    member.run(1)
    assert len(told(member)) == 1


def test_the_portal_is_taken_back_when_stun_answers_again(portal: Member) -> None:
    portal.start()
    portal.run(4)
    portal.udp = True
    portal.own.active(portal.now)
    portal.run(30)
    assert told(portal)[-1] is None
    assert len(told(portal)) == 2


def test_the_policy_keeps_it_from_looking(portal: Member) -> None:
    key = NodePrivate(bytes(range(32))).public()
    own = Node(id=1, stable_id="n1", name="a.", user=1, key=key, addresses=[], cap_map={NO_DETECTION: None})
    portal.own.policy_changed(own)
    portal.start()
    portal.take(portal.own.requested(1, portal.now))
    portal.run(60)
    assert portal.done(AskPort80) == []
    assert len(portal.done(NetcheckDone)) == 1


def test_an_idle_node_sends_nothing() -> None:
    member = Member(1, 2, 3, 4)
    member.start()
    member.home_up()
    member.run(10)
    member.own.active(member.now)
    member.run(60)
    before = len(member.sent)
    member.run(3600)
    assert len(member.sent) == before
    assert member.own.next_timeout() is None


def test_an_idle_node_behind_a_portal_asks_at_most_once_a_minute_in_the_long_run(portal: Member) -> None:
    portal.start()
    portal.run(300)
    before = len(portal.sent)
    portal.run(600)
    new = portal.sent[before:]
    assert all(isinstance(action, AskPort80) for action in new)
    assert len(new) <= 2 * 11


def test_an_active_node_asks_the_fastest_and_home_and_everybody_each_five_minutes() -> None:
    member = Member(1, 2, 3, 4, 5, 6)
    member.start()
    member.home_up()
    member.run(10)
    first = len(member.done(SendUdp))
    for _ in range(9):
        member.own.active(member.now)
        member.run(30)
    short = member.done(SendUdp)[first:]
    assert {str(a.to.ip) for a in short if isinstance(a, SendUdp)} == {f"203.0.113.{n}" for n in (1, 2, 3)}
    for _ in range(3):
        member.own.active(member.now)
        member.run(30)
    late = member.done(SendUdp)[first + len(short) :]
    assert "203.0.113.6" in {str(a.to.ip) for a in late if isinstance(a, SendUdp)}


def test_home_stays_while_control_is_away_and_moves_when_it_is_back() -> None:
    member = Member(1, 2)
    member.start()
    member.run(5)
    member.own.control_connected = False
    member.rtt = {1: 0.3, 2: 0.02}
    member.take(member.own.restart_check(member.now))
    member.run(5)
    assert member.relays.home == 1
    member.own.control_connected = True
    member.take(member.own.restart_check(member.now))
    member.run(5)
    assert member.relays.home == 2


def test_home_that_was_connected_is_kept_two_minutes_through_silence() -> None:
    member = Member(1, 2)
    member.start()
    member.run(5)
    member.home_up()
    member.udp = member.https = False
    member.home_down()
    for _ in range(int(KEEP_ALIVE_KEPT / 10) - 1):
        for _ in range(4):
            member.relays.went_down(RegionId(1), "gone", member.now)
        member.own.active(member.now)
        member.run(10)
        assert member.relays.home == 1


def test_a_lost_home_is_left_soon_where_only_https_gets_through() -> None:
    member = Member(1, 2, udp=False)
    member.start()
    member.run(5)
    member.home_up()
    assert member.relays.home == 1
    member.home_down()
    for _ in range(4):
        member.relays.went_down(RegionId(1), "gone", member.now)
    member.own.active(member.now)
    member.run(20)
    assert member.relays.home == 2


def test_the_nats_kind_stays_known_when_a_later_check_cannot_tell() -> None:
    member = Member(1, 2)
    member.mapped[2] = OTHER
    member.start()
    member.run(5)
    assert member.own.mapping_varies is True
    del member.map.regions[2]  # type: ignore[union-attr]
    member.take(member.own.check(member.now, full=True))
    member.run(5)
    assert member.own.report is not None
    assert member.own.report.mapping_varies_by_dest_ip is None
    assert member.own.mapping_varies is True
    last = member.done(ReportToControl)[-1]
    assert isinstance(last, ReportToControl)
    assert last.net_info.mapping_varies_by_dest_ip is True
    member.take(member.own.restart_check(member.now))
    member.run(5)
    assert member.own.mapping_varies is None


def test_what_the_router_offers_stands_in_the_report() -> None:
    member = Member(1)
    member.own.port_services_found(upnp=False, pmp=True, pcp=None)
    member.start()
    member.run(5)
    found = member.own.report
    assert found is not None
    assert (found.upnp, found.pmp, found.pcp) == (False, True, None)


def last_report(member: Member) -> ReportToControl:
    last = member.done(ReportToControl)[-1]
    assert isinstance(last, ReportToControl)
    return last


def test_a_port_that_the_router_forwards_is_news_at_once_first_in_the_list_and_gone_at_once() -> None:
    member = Member(1)
    member.start()
    member.run(5)
    assert not last_report(member).net_info.have_port_map
    forwarded = Endpoint.parse("198.51.100.1:2000")
    member.take(member.own.port_mapped(PortMapped(forwarded, upnp=False, pmp=True, pcp=True), member.now))
    report = last_report(member)
    assert (report.endpoints[0], report.types[0]) == (forwarded, EndpointType.PORTMAPPED)
    assert (report.net_info.have_port_map, report.net_info.pcp, report.net_info.upnp) == (True, True, False)
    member.take(member.own.port_mapped(PortMapped(None, upnp=False, pmp=False, pcp=False), member.now))
    report = last_report(member)
    assert forwarded not in report.endpoints
    assert not report.net_info.have_port_map


def test_a_forwarded_port_is_still_first_after_a_new_check_and_not_told_again() -> None:
    member = Member(1)
    member.start()
    member.run(5)
    news = PortMapped(Endpoint.parse("198.51.100.1:2000"), upnp=True, pmp=False, pcp=False)
    member.take(member.own.port_mapped(news, member.now))
    reports = len(member.done(ReportToControl))
    member.take(member.own.check(member.now, full=True))
    member.run(5)
    assert len(member.done(ReportToControl)) == reports
    assert member.own.list[0] == (news.external, EndpointType.PORTMAPPED)


def test_a_router_that_names_a_strangers_address_has_us_tell_nobody() -> None:
    member = Member(1)
    member.start()
    member.run(5)
    strange = Endpoint.parse("203.0.113.66:2000")
    member.take(member.own.port_mapped(PortMapped(strange, upnp=True, pmp=False, pcp=False), member.now))
    report = last_report(member)
    assert strange not in report.endpoints
    assert not report.net_info.have_port_map


def test_a_short_report_that_is_asked_for_where_udp_is_blocked_is_a_full_one() -> None:
    member = Member(1, 2, udp=False)
    member.start()
    member.run(5)
    member.take(member.own.requested(1, member.now, full=False))
    member.run(5)
    (answer,) = member.done(NetcheckDone)
    assert isinstance(answer, NetcheckDone)
    assert answer.report.region_latency.keys() == {1, 2}


def stun_since(member: Member, began: int) -> list[float]:
    return [action.to.port for action in member.sent[began:] if isinstance(action, SendUdp)]


def test_a_new_map_is_looked_at_later_by_who_is_well_and_at_once_by_who_is_not() -> None:
    well, lost = Member(1, 2), Member(1, 2)
    for member in (well, lost):
        member.rtt = {1: 0.05, 2: 0.06}
        member.start()
        member.run(2)
    well.home_up()
    for member in (well, lost):
        member.rtt[3], member.mapped[3] = 0.001, MAPPED
        began = len(member.sent)
        member.map = DERPMap(regions={number: region(number) for number in (1, 2, 3)})
        member.take(member.own.map_changed(member.map, member.now))
        assert bool(stun_since(member, began)) is (member is lost)
    well.run(MAP_CHECK_SPREAD + 1)
    assert (well.relays.home, lost.own.checking) == (3, True)


def test_who_loses_home_looks_for_another_unless_it_comes_back_at_once() -> None:
    for back in (True, False):
        member = Member(1, 2)
        member.start()
        member.run(2)
        member.home_up()
        member.rtt[1] = 60.0
        member.home_down()
        member.own.home_lost(member.now)
        began = len(member.sent)
        if back:
            member.home_up()
        member.run(HOME_CHECK_AFTER + HOME_CHECK_SPREAD + AFTER_LAST_TRY + 0.5)
        assert bool(stun_since(member, began)) is not back
        assert member.relays.home == (1 if back else 2)


def test_who_joins_a_check_that_has_found_udp_silent_gets_a_new_look_for_a_portal() -> None:
    member = Member(1, udp=False, https=True)
    member.port80 = b"HTTP/1.1 204 No Content\r\n\r\n"
    member.start()
    member.run(1.2)
    member.port80 = REDIRECT
    began = len(member.done(AskPort80))
    member.take(member.own.requested(7, member.now))
    assert len(member.done(AskPort80)) > began
