"""The quirks of UPnP routers, each as one is known to behave."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.portmap import constants as c
from ginnel.core.node.portmap.actions import FetchPortmap
from ginnel.words import Endpoint
from tests.core.node.portmap.routers import PORT, SSDP, Bench, Router, mapped
from tests.wire.test_upnp import IP1, IP2, PPP, description, envelope, fault


def bodies() -> st.SearchStrategy[bytes]:
    """Noise, and each kind of answer, whatever was asked."""
    said = [f"<NewReservedPort>{port}</NewReservedPort>" for port in ("0", "1023", "2000", "x")]
    said += [f"<NewExternalIPAddress>{ip}</NewExternalIPAddress>" for ip in ("0.0.0.0", "10.0.0.1", "203.0.113.5", "")]
    said += ["<NewConnectionStatus>Connected</NewConnectionStatus>", ""]
    answers = [envelope(f"<Response>{inside}</Response>") for inside in said]
    answers += [fault(code) for code in (401, 402, 501, 714, 718, 725, 729)]
    answers.append(description((IP1, "/ctl")))
    return st.sampled_from(answers) | st.binary(max_size=40)


def names(bench: Bench) -> list[str]:
    return [name for name, _ in bench.router.calls]


def test_version_1_is_asked_for_a_random_port_above_1023_for_two_hours() -> None:
    bench = mapped(Router({SSDP}))
    assert names(bench) == ["AddPortMapping", "GetExternalIPAddress"]
    asked = bench.router.calls[0][1]
    assert int(asked["NewExternalPort"]) >= c.LOWEST_PORT
    assert (asked["NewInternalClient"], asked["NewInternalPort"], asked["NewLeaseDuration"]) == (
        "192.168.1.7",
        str(PORT),
        "7200",
    )


def test_version_2_may_give_another_port_than_the_one_asked_for() -> None:
    values = {"AddAnyPortMapping": {"NewReservedPort": "7777"}}
    bench = mapped(Router({SSDP}, services=((IP2, "/ctl"),), values=values))
    assert bench.external is not None
    assert bench.external.port == 7777


@pytest.mark.parametrize("reserved", ["0", "22", "65536", "-1", "x", ""])
def test_a_reserved_port_that_cannot_be_is_refused(reserved: str) -> None:
    values = {"AddAnyPortMapping": {"NewReservedPort": reserved}}
    bench = Bench(Router({SSDP}, services=((IP2, "/ctl"),), values=values)).start().after(1)
    assert bench.external is None
    assert "DeletePortMapping" not in names(bench)


def test_version_2_without_its_own_action_is_asked_as_version_1() -> None:
    router = Router({SSDP}, services=((IP2, "/ctl"),), faults={"AddAnyPortMapping": [401]})
    assert names(mapped(router)) == ["AddAnyPortMapping", "AddPortMapping", "GetExternalIPAddress"]


@pytest.mark.parametrize("code", [402, 725])
def test_a_router_that_knows_only_leases_without_end_gets_one_and_is_asked_anew_every_hour(code: int) -> None:
    bench = mapped(Router({SSDP}, faults={"AddPortMapping": [code]}))
    assert [call["NewLeaseDuration"] for name, call in bench.router.calls if name == "AddPortMapping"] == ["7200", "0"]
    bench.router.calls.clear()
    bench.after(3600)
    assert [call["NewLeaseDuration"] for name, call in bench.router.calls if name == "AddPortMapping"] == ["0"]


def test_a_taken_port_is_answered_by_another_three_times_at_most() -> None:
    bench = mapped(Router({SSDP}, faults={"AddPortMapping": [718, 718]}))
    ports = [call["NewExternalPort"] for name, call in bench.router.calls if name == "AddPortMapping"]
    assert len(set(ports)) == 3
    failing = Bench(Router({SSDP}, faults={"AddPortMapping": [718] * 9})).start().after(1)
    assert names(failing) == ["AddPortMapping"] * 3
    assert "718" in failing.mapper.problem


def test_a_location_on_another_host_is_read_from_the_gateway() -> None:
    """Some routers name an address of another of their networks; a liar would have us fetch from anywhere."""
    bench = mapped(Router({SSDP}, location="http://192.0.2.66:8080/root.xml"))
    assert {(str(fetch.gateway), fetch.port) for fetch in bench.router.fetched} == {("192.168.1.1", 8080)}


@pytest.mark.parametrize("location", ["https://192.168.1.1/root.xml", "file:///root.xml", "http://a:0/", "x y"])
def test_a_location_that_is_no_plain_http_is_not_fetched(location: str) -> None:
    bench = Bench(Router({SSDP}, location=location)).start().after(30)
    assert bench.router.fetched == []


def test_of_several_services_the_connected_one_with_a_public_address_is_taken() -> None:
    up, down = {"NewConnectionStatus": "Connected"}, {"NewConnectionStatus": "Disconnected"}
    router = Router(
        {SSDP},
        services=((IP1, "/down"), (IP1, "/private"), (PPP, "/public")),
        values={
            "GetStatusInfo /down": down,
            "GetStatusInfo /private": up,
            "GetStatusInfo /public": up,
            "GetExternalIPAddress /private": {"NewExternalIPAddress": "10.0.0.1"},
        },
    )
    bench = mapped(router)
    assert next(fetch.path for fetch in router.fetched if "AddPortMapping" in str(fetch.soap)) == "/public"
    assert "GetExternalIPAddress" in names(bench)


def test_of_services_behind_another_nat_the_connected_one_is_taken() -> None:
    up = {"NewConnectionStatus": "Up"}
    router = Router(
        {SSDP}, outside="10.0.0.1", services=((IP1, "/down"), (IP1, "/up")), values={"GetStatusInfo /up": up}
    )
    mapped(router)
    assert next(fetch.path for fetch in router.fetched if "AddPortMapping" in str(fetch.soap)) == "/up"


def test_a_mapping_that_the_router_gave_to_another_machine_is_asked_for_anew() -> None:
    bench = mapped(Router({SSDP}))
    bench.router.values["GetSpecificPortMappingEntry"] = {"NewInternalClient": "192.168.1.66"}
    bench.router.faults["AddPortMapping"] = [718]
    before = bench.external
    bench.after(c.CHECK_UPNP_IDLE)
    assert bench.external is not None
    assert bench.external != before


def test_the_device_that_has_the_newer_version_is_asked_first() -> None:
    bench = Bench(Router(set())).start()
    for version, path in ((1, b"/old.xml"), (2, b"/root.xml")):
        answer = bench.router.search_answer().replace(b"/root.xml", path).replace(b"Device:1", b"Device:%d" % version)
        bench.perform(bench.mapper.found(Endpoint.parse("192.168.1.1:1900"), answer, bench.now))  # type: ignore[arg-type]
    bench.after(1)
    assert bench.router.fetched[0].path == "/root.xml"


def test_a_router_that_never_answers_by_http_is_left_after_eight_seconds() -> None:
    bench = Bench(Router({SSDP}))
    bench.router.http = lambda action: None  # type: ignore[assignment,method-assign,return-value]
    bench.perform = lambda actions: [  # type: ignore[method-assign,assignment]
        bench.deliver(action.to, action.packet) for action in actions if hasattr(action, "packet")
    ]
    bench.start().after(c.PROBE_TIME)
    assert not bench.mapper.settled
    bench.after(c.UPNP_LIMIT)
    assert bench.mapper.settled
    assert "too long" in bench.mapper.problem


@given(st.lists(st.tuples(st.sampled_from([0, 200, 404, 500]), bodies()), max_size=40), st.booleans())
def test_whatever_a_router_answers_it_ends_within_a_bounded_number_of_requests(
    answers: list[tuple[int, bytes]], version_2: bool
) -> None:
    router = Router({SSDP}, services=((IP2 if version_2 else IP1, "/ctl"), (IP1, "/two"), (PPP, "/three")))
    bench, honest = Bench(router), router.http

    def http(action: FetchPortmap) -> tuple[int, bytes]:
        said = honest(action)
        return answers.pop(0) if answers else said

    router.http = http  # type: ignore[method-assign]
    bench.start().after(1.0)
    assert len(router.fetched) <= c.LOCATIONS_TRIED + 2 * 3 + 2 * c.UPNP_PORTS_TRIED + 4
    if bench.external is not None:
        assert bench.external.port >= c.LOWEST_PORT


def test_descriptions_that_are_none_are_passed_over() -> None:
    bench = Bench(Router({SSDP}, services=())).start().after(1)
    assert bench.external is None
    assert "nothing that maps ports" in bench.mapper.problem
