from __future__ import annotations

from ipaddress import ip_interface

import pytest

from ginnel.core.node.actions import EndpointType
from ginnel.core.node.constants import ENDPOINT_KEPT, ENDPOINTS_PER_IP
from ginnel.core.node.endpoints import LocalAddress, OwnEndpoints, local_ips
from ginnel.core.node.netcheck_report import Report
from ginnel.words import Endpoint, Instant

T0 = Instant(100.0)
MAPPED, OTHER = Endpoint.parse("198.51.100.1:41641"), Endpoint.parse("198.51.100.1:55555")


def local(*texts: str) -> list[LocalAddress]:
    return [LocalAddress("eth0", ip_interface(text)) for text in texts]


def own(*seen: Endpoint) -> OwnEndpoints:
    endpoints = OwnEndpoints()
    endpoints.interfaces_changed(local("10.0.0.2/24"))
    endpoints.port_bound(41641, 41641, 41641)
    for each in seen:
        endpoints.seen(each, T0)
    return endpoints


def texts(endpoints: OwnEndpoints, now: Instant = T0) -> list[tuple[str, EndpointType]]:
    return [(str(endpoint), kind) for endpoint, kind in endpoints.gather(now)]


def test_an_easy_nat_gives_the_public_address_and_the_local_one() -> None:
    assert texts(own(MAPPED)) == [
        ("198.51.100.1:41641", EndpointType.STUN),
        ("10.0.0.2:41641", EndpointType.LOCAL),
    ]


def test_a_changed_port_adds_the_public_address_with_the_local_port_even_with_one_server() -> None:
    assert texts(own(OTHER)) == [
        ("198.51.100.1:55555", EndpointType.STUN),
        ("198.51.100.1:41641", EndpointType.STUN_WITH_LOCAL_PORT),
        ("10.0.0.2:41641", EndpointType.LOCAL),
    ]


def test_configured_endpoints_and_a_mapped_port_are_advertised() -> None:
    endpoints = OwnEndpoints([Endpoint.parse("192.0.2.9:9")])
    endpoints.port_bound(1, 1, 1)
    endpoints.port_mapped_to(Endpoint.parse("192.0.2.8:8"))
    assert texts(endpoints) == [("192.0.2.8:8", EndpointType.PORTMAPPED), ("192.0.2.9:9", EndpointType.EXPLICIT)]


def test_a_mapped_port_comes_first_and_is_gone_the_moment_it_is_withdrawn() -> None:
    endpoints = own(MAPPED)
    forwarded = Endpoint.parse("198.51.100.1:2000")
    endpoints.port_mapped_to(forwarded)
    assert texts(endpoints)[0] == (str(forwarded), EndpointType.PORTMAPPED)
    endpoints.port_mapped_to(None)
    assert str(forwarded) not in dict(texts(endpoints))


def test_a_mapped_port_outlives_what_stun_said_but_not_our_own_port() -> None:
    endpoints = own(MAPPED)
    forwarded = Endpoint.parse("198.51.100.1:2000")
    endpoints.port_mapped_to(forwarded)
    endpoints.forget_mappings()
    assert texts(endpoints)[0][0] == str(forwarded)
    endpoints.port_bound(41641, 7777, 0)
    assert texts(endpoints)[0][0] == str(forwarded)
    endpoints.port_bound(7777, 7777, 0)
    assert str(forwarded) not in dict(texts(endpoints))


def test_a_mapped_address_that_no_stun_server_sees_us_at_is_not_advertised_and_counted_once() -> None:
    endpoints = own()
    strange = Endpoint.parse("203.0.113.66:2000")
    endpoints.port_mapped_to(strange)
    assert texts(endpoints)[0][0] == str(strange)
    endpoints.seen(MAPPED, T0)
    assert str(strange) not in dict(texts(endpoints))
    assert str(strange) not in dict(texts(endpoints))
    assert endpoints.believed_port_map() is None
    assert endpoints.drops == {"portmap.foreign_address": 1}


def test_a_private_mapped_address_stays_whatever_stun_says() -> None:
    endpoints = own(MAPPED)
    endpoints.port_mapped_to(Endpoint.parse("10.9.9.9:2000"))
    assert texts(endpoints)[0] == ("10.9.9.9:2000", EndpointType.PORTMAPPED)


def test_the_report_decides_between_the_answers_of_a_check() -> None:
    endpoints = own(MAPPED, OTHER)
    endpoints.gather(T0)
    endpoints.checked(Report(udp=True, global_v4=MAPPED, counters_v4={MAPPED: 1, OTHER: 1}), Instant(T0 + 1))
    late = Instant(T0 + ENDPOINT_KEPT + 0.5)
    assert ("198.51.100.1:55555", EndpointType.STUN) in texts(endpoints, Instant(T0 + 2))
    assert [text for text, _ in texts(endpoints, late)] == ["198.51.100.1:41641", "10.0.0.2:41641"]


def test_addresses_seen_earlier_stay_for_a_while_but_few_of_one_ip() -> None:
    endpoints = own()
    for number in range(10):
        endpoints.seen(Endpoint(MAPPED.ip, 50000 + number), Instant(T0 + number))
        endpoints.gather(Instant(T0 + number))
    endpoints.checked(Report(udp=True, global_v4=Endpoint(MAPPED.ip, 50009)), Instant(T0 + 10))
    of_ip = [e for e, _ in endpoints.gather(Instant(T0 + 10)) if e.ip == MAPPED.ip]
    assert len(of_ip) == ENDPOINTS_PER_IP
    assert of_ip[0].port == 50009


def test_another_socket_has_other_mappings() -> None:
    endpoints = own(MAPPED)
    endpoints.gather(T0)
    endpoints.port_bound(5000, 5000, 0)
    assert texts(endpoints) == [("10.0.0.2:5000", EndpointType.LOCAL)]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["10.0.0.1/24", "127.0.0.1/8", "169.254.1.1/16", "fd00::1/64"], ["10.0.0.1"]),
        (["169.254.1.1/16", "fd00::1/64", "127.0.0.1/8"], ["169.254.1.1", "fd00::1"]),
        (["127.0.0.1/8", "fe80::1/64"], ["127.0.0.1"]),
        (["100.64.0.1/32", "fd7a:115c:a1e0::1/128"], []),
        (["2001:db8::1/64", "2001:db8::2/64", "2001:db8::3/64"], ["2001:db8::1", "2001:db8::2"]),
    ],
)
def test_which_addresses_of_the_machine_are_worth_advertising(given: list[str], expected: list[str]) -> None:
    assert [str(ip) for ip in local_ips(local(*given))] == expected


def test_ip_versions_need_a_socket_and_a_way_out() -> None:
    assert own().ip_versions() == (4,)
    endpoints = own()
    endpoints.interfaces_changed(local("10.0.0.2/24", "2001:db8::1/64"))
    assert endpoints.ip_versions() == (4, 6)
    endpoints.port_bound(1, 0, 1)
    assert endpoints.ip_versions() == (4,)
