"""The machine against scripted routers, honest and hostile (the real one: tests/shell/node/test_portmap.py)."""

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.portmap import constants as c
from ginnel.core.node.portmap.actions import Gateway, PortmapAction, PortMapped, Protocol, SendPortmap
from ginnel.core.node.portmap.mapper import PortMapper
from ginnel.core.node.portmap.states import Held, Off, Probing, Resting
from ginnel.words import Endpoint, Instant
from tests.core.node.portmap.routers import GATEWAY, OUTSIDE, PCP, PMP, PORT, SSDP, Bench, Router, mapped
from tests.wire.test_upnp import IP2

EACH = pytest.mark.parametrize("speaks", [PCP, PMP, SSDP])
BY_DATAGRAM = pytest.mark.parametrize("speaks", [PCP, PMP])
ROUTER = Endpoint.parse("192.168.1.1:5351")


@EACH
def test_a_port_is_mapped_and_told(speaks: str) -> None:
    bench = mapped(Router({speaks}))
    assert bench.external == Endpoint.parse(f"{OUTSIDE}:{next(iter(bench.router.mappings))}")
    assert bench.router.mappings[bench.external.port] == (PORT, c.LIFETIME)
    assert bench.told[-1] == PortMapped(bench.external, upnp=speaks == SSDP, pmp=speaks == PMP, pcp=speaks == PCP)
    assert bench.mapper.settled


@EACH
def test_a_mapping_is_renewed_at_half_its_life_and_never_lapses(speaks: str) -> None:
    bench = mapped(Router({speaks}, lifetime=1800 if speaks != SSDP else None))
    before = bench.external
    for _ in range(100):
        bench.after(600)
        assert bench.held.ends_at > bench.now
        assert bench.external == before
    assert bench.held.granted_at > bench.now - bench.held.granted.lifetime / 2 - 1


@EACH
@pytest.mark.parametrize("active", [True, False])
def test_a_router_that_forgot_is_asked_again(speaks: str, active: bool) -> None:
    bench = mapped(Router({speaks}))
    bench.mapper.active = active
    bench.after(3000)
    before = bench.external
    bench.router.restart(bench.now)
    told = len(bench.told)
    upnp = (c.CHECK_UPNP_ACTIVE, c.CHECK_UPNP_IDLE)
    bench.after((upnp if speaks == SSDP else (c.CHECK_ACTIVE, c.CHECK_IDLE))[not active])
    assert before is not None
    assert list(bench.router.mappings) == [before.port]
    assert bench.told[told:] == []


@BY_DATAGRAM
def test_an_announcement_of_the_router_is_followed_at_once_but_not_too_often(speaks: str) -> None:
    bench = mapped(Router({speaks})).after(500)
    bench.router.restart(bench.now)
    announced = b"\0\x80\0\0\0\0\0\0" + IPv4Address(OUTSIDE).packed
    group = Endpoint.parse("192.168.1.1:5351")
    bench.perform(bench.mapper.announced(group, announced, Instant(bench.now)))
    assert bench.router.mappings
    asked = len(bench.router.asked)
    for _ in range(100):
        bench.perform(bench.mapper.announced(group, announced, Instant(bench.now)))
    assert len(bench.router.asked) == asked
    bench.perform(bench.mapper.announced(Endpoint.parse("192.168.1.66:5351"), announced, Instant(bench.now + 60)))
    assert bench.mapper.drops == {"portmap.wrong_source": 1}


@EACH
def test_a_router_that_vanishes_takes_the_endpoint_with_it_and_coming_back_restores_it(speaks: str) -> None:
    bench = mapped(Router({speaks}))
    before = bench.external
    bench.router.up = False
    bench.after(c.CHECK_UPNP_IDLE + c.UPNP_LIMIT)
    assert bench.external is None
    assert isinstance(bench.mapper.state, Resting | Probing)
    bench.router.up = True
    bench.after(c.RESTS[-1] + 1)
    assert bench.external == before


def test_a_renewal_that_names_another_address_moves_the_endpoint() -> None:
    for speaks in (PCP, PMP, SSDP):
        bench = mapped(Router({speaks}))
        bench.router.outside = "203.0.113.77"
        bench.after(c.CHECK_UPNP_IDLE)
        assert bench.external is not None
        assert str(bench.external.ip) == "203.0.113.77"


@EACH
def test_stopping_gives_the_port_back(speaks: str) -> None:
    bench = mapped(Router({speaks}))
    bench.stop()
    assert bench.router.mappings == {}
    assert bench.external is None
    assert bench.mapper.next_timeout() is None
    assert isinstance(bench.mapper.state, Off)


def test_another_gateway_is_asked_without_the_first_ones_port_and_the_same_one_with_it() -> None:
    bench = mapped(Router({PCP}))
    port = bench.held.granted.port
    bench.stop()
    bench.router.next_port = 60000
    bench.start().after(1)
    assert bench.held.granted.port == port
    bench.stop()
    bench.router.source = "192.168.7.1:5351"
    bench.start(Gateway("wlan0", GATEWAY.own, IPv4Address("192.168.7.1"))).after(1)
    assert bench.held.granted.port == 60000


def test_the_order_is_pcp_then_nat_pmp_then_upnp() -> None:
    assert mapped(Router({PCP, PMP, SSDP})).held.way.protocol is Protocol.PCP
    assert mapped(Router({PMP, SSDP})).held.way.protocol is Protocol.NATPMP
    bench = Bench(Router({PMP, SSDP}, result=2)).start().after(10)
    assert bench.held.way.protocol is Protocol.UPNP


def test_what_the_router_speaks_is_told_when_the_probe_is_over() -> None:
    bench = Bench(Router({PCP, SSDP})).start()
    assert bench.told[-1] == PortMapped(bench.external, upnp=True, pmp=None, pcp=True)
    bench.after(c.PROBE_TIME)
    assert bench.told[-1] == PortMapped(bench.external, upnp=True, pmp=False, pcp=True)
    bench.after(86400)
    assert bench.told[-1] == PortMapped(bench.external, upnp=True, pmp=False, pcp=True)


def test_upnp_can_be_left_out() -> None:
    bench = Bench(Router({SSDP}), with_upnp=False).start().after(100)
    assert bench.external is None
    assert bench.told[-1].upnp is None
    assert not [to for to, _ in bench.router.asked if to.port == 1900]


def test_a_late_answer_to_the_search_is_welcome() -> None:
    bench = Bench(Router(set())).start().after(c.PROBE_TIME)
    assert isinstance(bench.mapper.state, Resting)
    answer = bench.router.search_answer()
    bench.after(1.0)
    bench.perform(bench.mapper.found(Endpoint.parse("192.168.1.1:1900"), answer, Instant(bench.now)))
    assert bench.external == bench.held.external


def test_a_network_without_such_a_router_costs_five_packets_every_ten_minutes() -> None:
    bench = Bench(Router(set())).start().after(3600)
    bench.router.asked.clear()
    bench.after(3600)
    assert len(bench.router.asked) == 6 * 5


@pytest.mark.parametrize("speaks", [PCP, PMP, SSDP])
def test_a_mapping_that_stands_costs_an_idle_node_next_to_nothing(speaks: str) -> None:
    bench = mapped(Router({speaks})).after(60)
    bench.router.asked.clear()
    bench.router.fetched.clear()
    bench.after(3600)
    assert len(bench.router.asked) + len(bench.router.fetched) <= 16


def test_a_look_probes_anew_and_checks_what_is_held() -> None:
    bench = mapped(Router({PMP})).after(60)
    bench.router.speaks.add(SSDP)
    bench.router.asked.clear()
    bench.perform(bench.mapper.look(Instant(bench.now)))
    assert len(bench.router.asked) == 6
    assert bench.after(1).mapper.settled
    assert bench.told[-1].upnp


# --- hostile answers -------------------------------------------------------------------------------------------

LIES = {
    "no_address": {"outside": "0.0.0.0"},
    "impossible_address": {"outside": "127.0.0.1"},
    "impossible_address ": {"outside": "224.0.0.1"},
    "impossible_address  ": {"outside": "255.255.255.255"},
    "impossible_address   ": {"outside": "169.254.1.1"},
    "tailnet_address": {"outside": "100.64.0.7"},
    "low_port": {"port": 0},
    "low_port ": {"port": 22},
    "short_lifetime": {"lifetime": 0},
    "short_lifetime ": {"lifetime": 3},
}


@BY_DATAGRAM
@pytest.mark.parametrize("reason", LIES)
def test_a_grant_that_cannot_be_is_refused_and_given_back(speaks: str, reason: str) -> None:
    bench = Bench(Router({speaks}, **LIES[reason])).start().after(10)
    assert bench.external is None
    assert bench.mapper.drops[f"portmap.{reason.strip()}"] >= 1
    assert bench.router.mappings == {}
    assert reason.strip().replace("_", " ") in bench.mapper.problem


@pytest.mark.parametrize("outside", ["0.0.0.0", "127.0.0.1", "239.1.1.1", "100.100.100.100"])
def test_upnp_lies_no_better(outside: str) -> None:
    bench = Bench(Router({SSDP}, outside=outside)).start().after(10)
    assert bench.external is None
    assert bench.router.mappings == {}


def test_a_private_address_is_advertised_it_may_help_and_does_no_harm() -> None:
    assert mapped(Router({PCP}, outside="10.20.30.40")).external == Endpoint.parse("10.20.30.40:50000")


@EACH
def test_answers_of_others_than_the_gateway_count_for_nothing(speaks: str) -> None:
    bench = Bench(Router({speaks}, source="192.168.1.66:5351")).start().after(30)
    assert bench.external is None
    assert bench.mapper.drops["portmap.wrong_source"] > 0
    assert bench.told[-1] == PortMapped(None, upnp=False, pmp=False, pcp=False)


def test_an_answer_from_another_port_of_the_gateway_counts_for_nothing() -> None:
    bench = Bench(Router({PCP}, source="192.168.1.1:5350")).start().after(30)
    assert bench.mapper.drops["portmap.wrong_source"] > 0
    assert bench.external is None


@pytest.mark.parametrize("lie", [{"nonce": b"not our nonce"[:12]}, {"internal": 22}, {"protocol": 6}])
def test_a_pcp_answer_with_another_nonce_port_or_protocol_is_somebody_elses(lie: dict[str, object]) -> None:
    bench = Bench(Router({PCP}, **lie)).start().after(10)
    assert bench.external is None
    assert bench.mapper.drops["portmap.unasked"] > 0


def test_a_nat_pmp_answer_for_another_port_is_somebody_elses() -> None:
    bench = Bench(Router({PMP}, internal=22)).start().after(10)
    assert bench.external is None
    assert bench.mapper.drops["portmap.unasked"] > 0


@BY_DATAGRAM
@pytest.mark.parametrize("result", [1, 2, 3, 4, 5, 8, 12, 200])
def test_every_refusal_ends_in_words_and_rest(speaks: str, result: int) -> None:
    router = Router({speaks})
    bench = mapped(router)
    router.result = result
    bench.after(c.CHECK_IDLE + 3)
    assert bench.external is None
    assert isinstance(bench.mapper.state, Resting | Probing)
    assert bench.mapper.problem


def test_a_pcp_server_behind_another_nat_says_so() -> None:
    router = Router({PCP})
    bench = mapped(router)
    router.result = 12
    bench.after(c.CHECK_IDLE)
    assert "another NAT" in bench.mapper.problem


def test_answers_that_nobody_asked_for_change_nothing() -> None:
    bench = mapped(Router({PCP})).after(10)
    before = bench.external
    forged = Router({PCP}, outside="203.0.113.66")
    request = next(packet for to, packet in bench.router.asked if packet[:2] == b"\2\1")
    answer = forged.datagram(request, bench.now)
    assert answer is not None
    bench.perform(bench.mapper.received(ROUTER, answer, Instant(bench.now)))
    assert bench.external == before
    assert bench.mapper.drops["portmap.unasked"] == 1


def test_the_nonce_is_the_same_after_a_restart_and_another_for_another_port() -> None:
    def nonce(port: int, secret: bytes = b"one") -> bytes:
        mapper = PortMapper(bytes, secret)
        mapper.start(GATEWAY, port, Instant(0.0))
        actions = mapper.received(ROUTER, b"\2\x80" + bytes(22), Instant(0.1))
        return next(a.packet for a in actions if isinstance(a, SendPortmap))[24:36]

    assert nonce(1) == nonce(1)
    assert len({nonce(1), nonce(2), nonce(1, b"two")}) == 3


class Flapping(Router):
    """Grants, and denies at the next question: whoever follows it at once never rests."""

    def by_pcp(self, packet: bytes, now: float) -> bytes:
        self.result = 0 if packet[1] == 0 or self.result else 4
        return super().by_pcp(packet, now)


def test_a_router_that_grants_and_denies_in_turn_costs_few_packets() -> None:
    bench = Bench(Flapping({PCP}, lifetime=30)).start().after(3600)
    bench.router.asked.clear()
    bench.after(3600)
    assert len(bench.router.asked) <= 600


def test_a_thousand_devices_found_are_eleven_and_few_are_fetched() -> None:
    bench = Bench(Router(set())).start()
    for number in range(1000):
        answer = bench.router.search_answer().replace(b"/root.xml", b"/no-%d" % number)
        bench.perform(bench.mapper.found(Endpoint.parse("192.168.1.1:1900"), answer, Instant(bench.now)))
    assert len(bench.mapper.services.locations()) == c.LOCATIONS_KEPT
    bench.after(60)
    assert 1 <= len(bench.router.fetched) <= c.LOCATIONS_TRIED


def test_a_printer_is_no_router() -> None:
    bench = Bench(Router(set())).start()
    answer = bench.router.search_answer().replace(b"InternetGatewayDevice", b"Printer")
    bench.perform(bench.mapper.found(Endpoint.parse("192.168.1.1:1900"), answer, Instant(bench.now)))
    assert bench.mapper.drops == {"portmap.no_router": 1}


def packets() -> st.SearchStrategy[bytes]:
    heads = [
        b"",
        b"\0\x80\0\0",
        b"\0\x81\0\0",
        b"\2\x80\0\0",
        b"\2\x81\0\0",
        b"HTTP/1.1 200 OK\r\nLOCATION: http://a/\r\n",
    ]
    return st.builds(bytes.__add__, st.sampled_from(heads), st.binary(max_size=60))


@given(
    st.sampled_from([PCP, PMP, SSDP]),
    st.lists(st.tuples(st.sampled_from(["received", "found", "announced", "fetched"]), packets(), st.floats(0, 400))),
)
def test_any_bytes_at_any_time_leave_the_machine_sound(speaks: str, inputs: list[tuple[str, bytes, float]]) -> None:
    """Never an exception, never silence for ever, never an address that cannot be ours."""
    bench = Bench(Router({speaks}, services=((IP2, "/ctl"),))).start()
    for name, packet, wait in inputs:
        bench.after(wait)
        now = Instant(bench.now)
        actions: list[PortmapAction]
        if name == "fetched":
            actions = bench.mapper.fetched(bench.drawn * 7919, 200, packet, now)
        else:
            actions = getattr(bench.mapper, name)(ROUTER, packet, now)
        bench.perform(actions)
        assert (at := bench.mapper.next_timeout()) is not None
        assert at <= bench.now + c.LIFETIME
        if isinstance(bench.mapper.state, Held):
            assert bench.held.external.port >= c.LOWEST_PORT
    assert len(bench.router.asked) + len(bench.router.fetched) <= 40 + 40 * len(inputs) + bench.now / 10
