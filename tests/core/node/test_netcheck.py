from __future__ import annotations

from ipaddress import ip_address
from random import Random

import pytest

from ginnel.core.node.actions import MeasureHttps, Resolve, SendUdp
from ginnel.core.node.names import Names
from ginnel.core.node.netcheck import AddressSeen, CheckAction, CheckDone, Netcheck
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
