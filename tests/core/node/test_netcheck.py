from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest

from ginnel.core.node.actions import MeasureHttps, MeasureIcmp, Resolve, SendUdp
from ginnel.core.node.names import Names
from ginnel.core.node.netcheck import (
    ENOUGH_REGIONS,
    HISTORY_MAX,
    VERBOSE_REGIONS,
    AddressSeen,
    CheckAction,
    CheckDone,
    Netcheck,
    UdpSilent,
)
from ginnel.core.node.netcheck_plan import REGIONS_MAX
from ginnel.core.node.netcheck_report import Report
from ginnel.wire import stun
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import Endpoint, Instant, RegionId

T0 = Instant(1000.0)
MAPPED, OTHER = Endpoint.parse("198.51.100.1:41641"), Endpoint.parse("198.51.100.1:50000")


def region(number: int, *, nodes: int = 1, **members: object) -> DERPRegion:
    return DERPRegion(
        number,
        f"r{number}",
        f"Region {number}",
        nodes=[
            DERPNode(
                f"{number}{n}", number, f"relay{number}{n}.example", ipv4=f"203.0.113.{10 * number + n}", ipv6="none"
            )
            for n in range(nodes)
        ],
        **members,  # type: ignore[arg-type]
    )


def derp_map(*regions: DERPRegion) -> DERPMap:
    return DERPMap(regions={each.region_id: each for each in regions})


def check(wanted: DERPMap, versions: tuple[int, ...] = (4,)) -> tuple[Netcheck, list[CheckAction]]:
    machine = Netcheck(Names(), Random(1).randbytes)
    return machine, machine.start(wanted, versions, RegionId(0), T0)


def asked(actions: list[CheckAction]) -> list[SendUdp]:
    return [action for action in actions if isinstance(action, SendUdp)]


def answer(machine: Netcheck, request: SendUdp, mapped: Endpoint, after: float) -> list[CheckAction]:
    packet = stun.binding_success(stun.parse_binding_request(request.packet), mapped)
    return machine.stun_received(request.to, packet, Instant(T0 + after)) or []


def finish(machine: Netcheck) -> tuple[float, Report, list[CheckAction]]:
    done: list[CheckAction] = []
    now = T0
    for _ in range(100):
        at = machine.next_timeout()
        assert at is not None
        assert at > now or not done, "woken for nothing"
        now = at
        done += machine.tick(now)
        if isinstance(done[-1] if done else None, CheckDone):
            last = done[-1]
            assert isinstance(last, CheckDone)
            return now - T0, last.report, done
    raise AssertionError("the check never ends")


def report(actions: list[CheckAction]) -> Report:
    return next(action.report for action in actions if isinstance(action, CheckDone))


def test_one_region_answered_ends_the_check_at_once() -> None:
    machine, first = check(derp_map(region(1)))
    actions = answer(machine, asked(first)[0], MAPPED, 0.02)
    assert actions[0] == AddressSeen(MAPPED)
    found = report(actions)
    assert (found.udp, found.ipv4, found.global_v4) == (True, True, MAPPED)
    assert found.region_latency == {1: pytest.approx(0.02)}
    assert found.mapping_varies_by_dest_ip is None  # one server proves nothing
    assert not machine.running


@pytest.mark.parametrize(("second", "varies"), [(MAPPED, False), (OTHER, True)])
@pytest.mark.parametrize("wanted", [derp_map(region(1), region(2)), derp_map(region(1, nodes=2))])
def test_two_servers_tell_an_easy_nat_from_a_hard_one(wanted: DERPMap, second: Endpoint, varies: bool) -> None:
    machine, first = check(wanted)
    one, two = asked(first)
    answer(machine, one, MAPPED, 0.02)
    assert report(answer(machine, two, second, 0.03)).mapping_varies_by_dest_ip is varies


def test_an_unanswered_try_is_repeated_and_an_answered_one_is_not() -> None:
    machine, first = check(derp_map(region(1), region(2)))
    answer(machine, asked(first)[0], MAPPED, 0.02)
    again = asked(machine.tick(Instant(T0 + 0.1)))
    assert [str(each.to) for each in again] in ([], ["203.0.113.20:3478"])
    assert len(again) <= 1


def test_silence_by_udp_leads_to_https_and_an_early_end() -> None:
    machine, _ = check(derp_map(region(1), region(2, avoid=True)))
    measure = [a for n in range(11) for a in machine.tick(Instant(T0 + n / 10)) if isinstance(a, MeasureHttps)]
    assert [each.region for each in measure] == [1]
    assert machine.latency_measured(RegionId(1), 0.03, Instant(T0 + 1.2)) == []
    seconds, found, _ = finish(machine)
    assert seconds == pytest.approx(1.5)
    assert (found.udp, found.region_latency) == (False, {1: 0.03})


def test_a_network_that_is_dead_ends_the_check_within_five_seconds() -> None:
    machine, _ = check(derp_map(region(1)))
    seconds, found, _ = finish(machine)
    assert seconds == pytest.approx(5.0)
    assert found.region_latency == {}


def test_a_relay_that_refuses_https_ends_the_check_when_stuns_time_is_over() -> None:
    machine, _ = check(derp_map(region(1)))
    for n in range(11):
        machine.tick(Instant(T0 + n / 10))
    machine.latency_measured(RegionId(1), None, Instant(T0 + 1.2))
    assert finish(machine)[0] == pytest.approx(3.0)


def test_an_answer_counts_once_from_whom_was_asked() -> None:
    machine, first = check(derp_map(region(1), region(2)))
    request = asked(first)[0]
    packet = stun.binding_success(stun.parse_binding_request(request.packet), MAPPED)
    assert machine.stun_received(OTHER, packet, T0) is None
    assert machine.stun_received(request.to, packet, T0) is not None
    assert machine.stun_received(request.to, packet, T0) is None
    forged = stun.binding_success(bytes(12), OTHER)
    assert machine.stun_received(request.to, forged, T0) is None


def test_a_name_is_looked_up_and_asked_when_it_has_an_address() -> None:
    names = Names()
    machine = Netcheck(names, Random(1).randbytes)
    node = DERPNode("1a", 1, "relay.example")
    first = machine.start(derp_map(DERPRegion(1, "a", "A", nodes=[node])), (4,), RegionId(0), T0)
    assert first == [Resolve("relay.example")]
    names.resolved("relay.example", [ip_address("203.0.113.1")], Instant(T0 + 0.05))
    assert [str(each.to) for each in asked(machine.resolved(Instant(T0 + 0.05)))] == ["203.0.113.1:3478"]


def test_regions_that_must_not_be_measured_are_left_alone() -> None:
    stun_only = DERPRegion(3, "c", "C", nodes=[DERPNode("3a", 3, "x", ipv4="203.0.113.30", stun_only=True)])
    _, first = check(derp_map(region(1), region(2, no_measure_no_home=True), stun_only))
    assert [str(each.to) for each in asked(first)] == ["203.0.113.10:3478", "203.0.113.30:3478"]


def test_after_a_full_check_the_next_asks_only_the_fastest_regions_and_home() -> None:
    regions = [region(number) for number in range(1, 8)]
    machine, first = check(derp_map(*regions))
    for number, request in enumerate(asked(first)):
        answer(machine, request, MAPPED, 0.01 * (number + 1))
    finish(machine) if machine.running else None
    actions = machine.start(derp_map(*regions), (4,), RegionId(3), Instant(T0 + 20))
    assert {str(each.to) for each in asked(actions)} <= {f"203.0.113.{n}0:3478" for n in (1, 2, 3)}
    assert not machine.running_full


def silent_for(machine: Netcheck, seconds: float) -> list[CheckAction]:
    return [action for n in range(round(seconds * 10) + 1) for action in machine.tick(Instant(T0 + n / 10))]


def test_two_answers_of_one_server_prove_nothing() -> None:
    machine, first = check(derp_map(region(1), region(2)))
    one, _ = asked(first)
    again = asked(machine.tick(Instant(T0 + 0.1)))
    answer(machine, one, MAPPED, 0.11)
    late = [answer(machine, request, MAPPED, 0.12) for request in again if request.to == one.to]
    assert len(late) == 1
    found = report([*finish(machine)[2]])
    assert found.counters_v4 == {MAPPED: 2}
    assert found.mapping_varies_by_dest_ip is None


def test_one_server_at_two_ports_proves_a_hard_nat_but_no_easy_one() -> None:
    node_a = DERPNode("1a", 1, "a", ipv4="203.0.113.10", ipv6="none")
    node_b = DERPNode("1b", 1, "b", ipv4="203.0.113.10", ipv6="none", stun_port=3479)
    wanted = derp_map(DERPRegion(1, "a", "A", nodes=[node_a, node_b]))
    for second, varies in ((OTHER, True), (MAPPED, None)):
        machine, first = check(wanted)
        one, two = asked(first)
        answer(machine, one, MAPPED, 0.02)
        assert report(answer(machine, two, second, 0.03)).mapping_varies_by_dest_ip is varies


def test_a_relay_in_our_own_network_says_nothing_of_the_nat_before_the_others() -> None:
    local = Endpoint.parse("192.168.1.5:41641")
    machine = Netcheck(Names(), Random(1).randbytes)
    wanted = derp_map(region(1), region(2), region(3))
    one, two, three = asked(machine.start(wanted, (4,), RegionId(0), T0, own=[local.ip]))
    answer(machine, one, local, 0.001)
    answer(machine, two, MAPPED, 0.02)
    found = report(answer(machine, three, MAPPED, 0.03))
    assert (found.mapping_varies_by_dest_ip, found.global_v4) == (False, MAPPED)


def test_a_machine_without_nat_has_one_mapping() -> None:
    machine = Netcheck(Names(), Random(1).randbytes)
    one, two = asked(machine.start(derp_map(region(1), region(2)), (4,), RegionId(0), T0, own=[MAPPED.ip]))
    answer(machine, one, MAPPED, 0.001)
    assert report(answer(machine, two, MAPPED, 0.02)).mapping_varies_by_dest_ip is False


def test_a_full_check_waits_a_moment_for_the_answer_that_names_the_nat() -> None:
    machine, first = check(derp_map(region(1, nodes=2)))
    one, two = asked(first)
    assert not any(isinstance(action, CheckDone) for action in answer(machine, one, MAPPED, 0.001))
    machine.tick(Instant(T0 + 0.2))
    assert machine.running
    assert report(answer(machine, two, OTHER, 0.24)).mapping_varies_by_dest_ip is True


def test_a_retransmission_that_would_tell_nothing_new_is_not_sent() -> None:
    machine, first = check(derp_map(region(1, nodes=2), region(2, nodes=2)))
    requests = {str(request.to): request for request in asked(first)}
    answer(machine, requests["203.0.113.10:3478"], MAPPED, 0.02)
    answer(machine, requests["203.0.113.20:3478"], MAPPED, 0.09)
    assert asked(machine.tick(Instant(T0 + 0.1))) == []


def test_icmp_runs_beside_https_and_the_faster_counts() -> None:
    machine, _ = check(derp_map(region(1), region(2)))
    actions = silent_for(machine, 1.0)
    assert sum(isinstance(action, UdpSilent) for action in actions) == 1
    pings = [action for action in actions if isinstance(action, MeasureIcmp)]
    assert {(each.region, str(each.address)) for each in pings} == {(1, "203.0.113.10"), (2, "203.0.113.20")}
    assert len({each.payload for each in pings}) == 2
    now = Instant(T0 + 1.1)
    machine.icmp_measured(RegionId(1), 0.01, now)
    machine.icmp_measured(RegionId(2), None, now)
    machine.latency_measured(RegionId(1), 0.03, now, version=4)
    machine.latency_measured(RegionId(2), 0.02, now, version=4)
    _, found, _ = finish(machine)
    assert (found.icmpv4, found.ipv4, found.udp) == (True, True, False)
    assert found.region_latency == {1: 0.01, 2: 0.02}


def test_a_relay_that_answers_pings_alone_counts_only_where_no_other_is_to_be_had() -> None:
    for https, expected in ((0.05, {2: 0.05}), (None, {1: 0.01})):
        machine, _ = check(derp_map(region(1), region(2)))
        silent_for(machine, 1.0)
        now = Instant(T0 + 1.1)
        machine.icmp_measured(RegionId(1), 0.01, now)
        machine.latency_measured(RegionId(1), None, now)
        machine.latency_measured(RegionId(2), https, now)
        assert finish(machine)[1].region_latency == expected


def test_https_alone_sends_no_ping_and_looks_for_no_portal() -> None:
    machine, first = check(derp_map(region(1)), ())
    actions = [*first, *silent_for(machine, 1.0)]
    assert [type(action) for action in actions] == [MeasureHttps]


def test_a_short_check_in_silence_dials_nobody() -> None:
    regions = derp_map(region(1), region(2))
    machine, first = check(regions)
    for request in asked(first):
        answer(machine, request, MAPPED, 0.01)
    began = Instant(T0 + 20)
    actions = machine.start(regions, (4,), RegionId(1), began)
    actions += [action for n in range(20) for action in machine.tick(Instant(began + n / 10))]
    assert {type(action) for action in actions} == {SendUdp, CheckDone}
    assert report(actions).region_latency == {}


def test_the_history_is_bounded_and_forgotten_in_another_network() -> None:
    regions = derp_map(region(1))
    machine = Netcheck(Names(), Random(1).randbytes)
    for n in range(400):
        now = Instant(T0 + n / 10)
        (request,) = asked(machine.start(regions, (4,), RegionId(1), now, full=True))
        answer(machine, request, MAPPED, n / 10 + 0.01)
    assert len(machine.history) <= HISTORY_MAX + 1
    machine.another_network()
    assert machine.history == []


def test_being_verbose_waits_for_every_region() -> None:
    regions = [region(number) for number in range(1, 7)]
    for enough, ends in ((ENOUGH_REGIONS, True), (VERBOSE_REGIONS, False)):
        machine = Netcheck(Names(), Random(1).randbytes)
        first = asked(machine.start(derp_map(*regions), (4,), RegionId(0), T0, enough=enough))
        for request in first[:5]:
            answer(machine, request, MAPPED, 0.02)
        machine.tick(Instant(T0 + 1))
        assert machine.running is not ends


@pytest.mark.parametrize(
    "mapped", ["0.0.0.0:5", "198.51.100.1:0", "224.0.0.1:5", "127.0.0.1:5", "[2001:db8::1]:5", "[fd7a:115c:a1e0::1]:5"]
)
def test_an_address_that_we_cannot_have_is_no_answer(mapped: str) -> None:
    machine, first = check(derp_map(region(1)))
    assert answer(machine, asked(first)[0], Endpoint.parse(mapped), 0.02) == []
    assert answer(machine, asked(first)[0], MAPPED, 0.03) != []


def test_a_map_of_thousands_of_regions_does_not_make_a_flood() -> None:
    nodes = [DERPNode("a", 1, "a", ipv4="203.0.113.1", ipv6="none")]
    wanted = DERPMap(regions={n: DERPRegion(n, "a", "A", nodes=nodes) for n in range(1, 5000)})
    _, first = check(wanted)
    assert len(asked(first)) == REGIONS_MAX
