"""Each body is read back as it was written; any bytes are messages or a WireError.
That the kernel takes and gives such bodies is proven in tests/shell/node/test_router.py."""

from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_interface, ip_network
from socket import AF_INET, AF_INET6

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.wire import rtnetlink as rt
from ginnel.wire.read import WireError

ROUTES = [
    rt.Route(ip_network("100.64.0.2/32"), 52, 103, rt.UNICAST, 7),
    rt.Route(ip_network("fd7a:115c:a1e0::2/128"), 52, 103, rt.UNICAST, 7, 1024),
    rt.Route(ip_network("10.9.0.0/16"), 70000, 103, rt.UNREACHABLE, metric=20000),
]
RULES = [
    rt.Rule(AF_INET, 5210, 254, 0x80000, 0xFF0000, 103),
    rt.Rule(AF_INET6, 5250, None, 0x80000, 0xFF0000, 103),
    rt.Rule(AF_INET, 5270, 52, protocol=103),
]


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_routes_come_back(route: rt.Route) -> None:
    assert rt.parse_route(rt.route(route)) == route


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_rules_come_back(rule: rt.Rule) -> None:
    assert rt.parse_rule(rt.rule(rule)) == rule


@pytest.mark.parametrize("text", ["100.64.0.1/32", "fd7a:115c:a1e0::1/128"])
def test_addresses_come_back(text: str) -> None:
    found = rt.parse_address(rt.address(rt.Address(7, ip_interface(text))))
    assert (found.index, found.interface) == (7, ip_interface(text))


def test_messages_of_one_datagram_are_told_apart() -> None:
    datagram = rt.encode(rt.Kind.NEW_ROUTE, 0, 5, b"abc") + b"\0" + rt.encode(rt.Kind.DONE, 0, 6, b"")
    found = [(message.kind, message.sequence, message.body) for message in rt.messages(datagram)]
    assert found == [(24, 5, b"abc"), (3, 6, b"")]


def test_an_error_is_an_errno() -> None:
    assert rt.error_of(rt.Message(rt.Kind.ERROR, 1, 0, (-17).to_bytes(4, "little", signed=True))) == 17
    assert rt.error_of(rt.Message(rt.Kind.DONE, 1, 0, b"")) == 0


PARSERS: list[Callable[[bytes], object]] = [
    lambda data: list(rt.messages(data)),
    rt.parse_link,
    rt.parse_address,
    rt.parse_route,
    rt.parse_rule,
]


@pytest.mark.parametrize("parse", PARSERS)
@given(data=st.binary(max_size=200), head=st.sampled_from([b"", rt.route(ROUTES[0])[:12], rt.rule(RULES[0])[:12]]))
def test_any_bytes_are_messages_or_a_wire_error(parse: Callable[[bytes], object], data: bytes, head: bytes) -> None:
    with suppress(WireError):
        parse(head + data)


@pytest.mark.parametrize("size", range(len(rt.route(ROUTES[0]))))
def test_a_route_cut_short_is_an_error_or_another_route(size: int) -> None:
    with suppress(WireError):
        assert rt.parse_route(rt.route(ROUTES[0])[:size]) != ROUTES[0]
