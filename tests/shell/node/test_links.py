"""What the kernel tells of itself, in a namespace of its own (see test_router.py for what we tell it)."""

import asyncio
import errno
import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from ipaddress import ip_interface, ip_network
from typing import Any

import pytest

from ginnel.core.node.endpoints import LocalAddress
from ginnel.core.node.routing import Routing
from ginnel.shell.node.links import EVERYTHING, Links, Listener, Stir, changes, read_links, stir_of
from ginnel.shell.node.router import Router
from ginnel.wire import rtnetlink as rt
from ginnel.wire.rtnetlink import Kind
from tests.shell.node.test_router import namespace

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
__all__ = ["namespace"]
TO_PEER = rt.Route(ip_network("100.64.0.2/32"), 52, 103, index=3)
WANTED = Routing(frozenset({"100.64.0.1/32"}), frozenset({"100.64.0.2/32"}))


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


@pytest.fixture
def wan(namespace: None) -> None:
    ip("link", "add", "wan", "type", "veth", "peer", "name", "wan2")
    ip("link", "set", "wan", "up")
    ip("link", "set", "wan2", "up")
    ip("addr", "add", "192.0.2.7/24", "dev", "wan")
    ip("route", "add", "default", "via", "192.0.2.1")
    ip("tuntap", "add", "gn0", "mode", "tun")


@pytest.fixture
def router(wan: None) -> Iterator[Router]:
    made = Router("gn0")
    made.apply(WANTED)
    yield made
    made.close()


def test_addresses_and_the_way_out_are_read_and_the_tunnel_is_left_out(router: Router) -> None:
    links = read_links("gn0")
    assert [str(a.interface) + " " + str(a.address) for a in links.addresses if "wan" in a.interface][0:1] == [
        "wan 192.0.2.7/24"
    ]
    assert not [a for a in links.addresses if a.interface == "gn0"]
    assert links.defaults == {("wan", "192.0.2.1")}


def test_another_way_out_is_major_and_another_address_elsewhere_is_not(wan: None) -> None:
    before = read_links("gn0")
    ip("addr", "add", "198.51.100.1/24", "dev", "wan2")
    minor = read_links("gn0")
    assert (minor != before, minor.major(before)) == (True, False)
    ip("route", "replace", "default", "via", "192.0.2.2")
    assert read_links("gn0").major(minor)
    assert Links().major(minor)


ADDRESS, OTHER, V6 = (LocalAddress("eth0", ip_interface(t)) for t in ("192.0.2.7/24", "192.0.2.8/24", "2001:db8::7/64"))
FOUR, FOUR_TOO, SIX = ("eth0", "192.0.2.1"), ("wlan0", "198.51.100.1"), ("eth0", "fe80::1")


@pytest.mark.parametrize(
    ("before", "now", "major"),
    [
        (Links(), Links((ADDRESS,), frozenset({FOUR})), True),
        (Links((ADDRESS,), frozenset({FOUR})), Links(), True),
        (Links((ADDRESS,), frozenset({FOUR})), Links((OTHER,), frozenset({FOUR})), True),
        (Links((ADDRESS,), frozenset({FOUR})), Links((ADDRESS,), frozenset({FOUR, FOUR_TOO})), True),
        (Links((ADDRESS,), frozenset({FOUR})), Links((ADDRESS,), frozenset({FOUR, ("ppp0", "")})), True),
        (Links((ADDRESS,), frozenset({FOUR})), Links((ADDRESS, OTHER), frozenset({FOUR})), False),
        (Links((ADDRESS,), frozenset({FOUR})), Links((ADDRESS, V6), frozenset({FOUR, SIX})), False),
        (Links((ADDRESS, V6), frozenset({FOUR, SIX})), Links((ADDRESS,), frozenset({FOUR})), True),
    ],
)
def test_what_goes_is_major_and_what_only_comes_is_not(before: Links, now: Links, major: bool) -> None:
    assert now.major(before) is major


async def heard(router: Router, *command: str) -> Stir:
    listening = changes("gn0", router.port)
    first = asyncio.ensure_future(anext(listening))
    await asyncio.sleep(0)
    ip(*command)
    async with asyncio.timeout(10):
        stir = await first
    await listening.aclose()
    return stir


@pytest.mark.parametrize(
    ("command", "stir"),
    [
        (("route", "del", "100.64.0.2", "table", "52"), Stir(routes=True)),
        (("rule", "del", "priority", "5270"), Stir(routes=True)),
        (("addr", "del", "100.64.0.1/32", "dev", "gn0"), EVERYTHING),
        (("link", "set", "gn0", "down"), EVERYTHING),
        (("link", "set", "wan2", "mtu", "1400"), Stir(links=True)),
        (("route", "replace", "default", "via", "192.0.2.2"), Stir(links=True)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
async def test_a_change_is_told_by_what_it_is_about(router: Router, command: tuple[str, ...], stir: Stir) -> None:
    got = await heard(router, *command)
    assert got | stir == got  # the kernel may have had more to tell


@pytest.mark.parametrize(
    ("message", "stir"),
    [
        (rt.Message(Kind.NEW_ROUTE, 0, 9, rt.route(TO_PEER)), Stir(routes=True)),
        (rt.Message(Kind.DEL_ROUTE, 0, 7, rt.route(TO_PEER)), Stir()),
        (rt.Message(Kind.DEL_ROUTE, 0, 0, rt.route(TO_PEER)), Stir(routes=True)),
        (rt.Message(Kind.NEW_ROUTE, 0, 9, rt.route(replace(TO_PEER, table=254))), Stir()),
        (rt.Message(Kind.NEW_ROUTE, 0, 9, rt.route(rt.Route(ip_network("0.0.0.0/0"), 254, index=3))), Stir(links=True)),
        (rt.Message(Kind.DEL_RULE, 0, 9, b""), Stir(routes=True)),
        (rt.Message(Kind.DEL_RULE, 0, 7, b""), Stir()),
        (rt.Message(Kind.NEW_ADDRESS, 0, 9, b""), Stir(links=True)),
        (rt.Message(Kind.DEL_ADDRESS, 0, 0, b""), EVERYTHING),
        (rt.Message(Kind.DEL_LINK, 0, 0, rt.link_up(3)), Stir(links=True)),
        (rt.Message(Kind.NEW_LINK, 0, 0, rt.link_up(3) + rt.attribute(rt.IFLA_IFNAME, b"gn0\0")), EVERYTHING),
        (rt.Message(99, 0, 0, b""), Stir()),
    ],
    ids=str,
)
def test_a_notice_concerns_links_routes_both_or_nobody(message: rt.Message, stir: Stir) -> None:
    assert stir_of(message, tun="gn0", own_port=7) == stir


def test_the_kernel_names_us_as_the_cause_of_what_we_did(router: Router) -> None:
    with Listener("gn0", router.port).socket as listening:
        router.apply(Routing(WANTED.addresses, frozenset(f"100.64.1.{n}/32" for n in range(50))))
        ports: list[int] = []
        with suppress(BlockingIOError):
            while True:
                ports += [m.port for m in rt.messages(listening.recv(65536)) if m.kind == Kind.NEW_ROUTE]
        assert ports.count(router.port) == 2 * 50


class Overrun:
    """A socket that lost messages."""

    def __init__(self, number: int) -> None:
        self.outcomes: list[Any] = [OSError(number, os.strerror(number)), BlockingIOError()]

    def recv(self, size: int) -> bytes:
        raise self.outcomes.pop(0)

    def close(self) -> None: ...


def test_lost_messages_may_have_been_about_anything(wan: None) -> None:
    listener = Listener("gn0", 1)
    listener.socket.close()
    listener.socket = Overrun(errno.ENOBUFS)  # type: ignore[assignment]
    listener.take()
    assert listener.stir == EVERYTHING
