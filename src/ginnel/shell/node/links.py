"""This machine's addresses and default routes, and word when they change, or when somebody touches our routes.

Room: shell. A netlink socket tells what a change is about; what there is now is then read whole, so that a flood of
messages costs one look.
"""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass

from ginnel.core.node.endpoints import LocalAddress
from ginnel.core.node.routing import TABLE, TABLE_MAIN
from ginnel.shell.node.netlink import DATAGRAM, Netlink
from ginnel.wire import rtnetlink as rt
from ginnel.wire.read import WireError
from ginnel.wire.rtnetlink import Kind

# linux/rtnetlink.h: RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, IPV6_RULE
GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18
SETTLE = 0.1
AT_ONCE = 64  # datagrams taken in one turn of the loop


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses of interfaces that are up, the tunnel's own left out; default routes as (interface, gateway)."""

    addresses: tuple[LocalAddress, ...] = ()
    defaults: frozenset[tuple[str, str]] = frozenset()

    def major(self, before: Links) -> bool:
        """Whether the way out moved: a default route or an address on its interface went, or there is another route
        for a family that had one. What only adds to it, as IPv6 that comes up after IPv4, disturbs no path."""
        if not before.defaults:
            return bool(self.defaults)
        if before.defaults - self.defaults or before._outward() - self._outward():
            return True
        had = {_family(gateway) for _, gateway in before.defaults}
        return any(_family(gateway) in had | {""} for _, gateway in self.defaults - before.defaults)

    def _outward(self) -> frozenset[LocalAddress]:
        names = {name for name, _ in self.defaults}
        return frozenset(a for a in self.addresses if a.interface in names)


def _family(gateway: str) -> str:
    """ "" for a route without a gateway, which does not tell."""
    return gateway and ("6" if ":" in gateway else "4")


@dataclass(frozen=True, slots=True)
class Stir:
    """What a burst of changes was about: the machine's links, and what a router (router.py) has set up."""

    links: bool = False
    routes: bool = False

    def __or__(self, other: Stir) -> Stir:
        return Stir(self.links or other.links, self.routes or other.routes)


EVERYTHING = Stir(links=True, routes=True)
NOTHING = Stir()


def read_links(tun: str) -> Links:
    """What there is now. Raises OSError."""
    with Netlink() as netlink:
        links = map(rt.parse_link, netlink.dump(Kind.GET_LINK, rt.every_link()))
        names = {link.index: link.name for link in links if link.up and link.name != tun}
        addresses = [
            LocalAddress(names[found.index], found.interface)
            for found in map(rt.parse_address, netlink.dump(Kind.GET_ADDRESS, rt.every_address()))
            if found.index in names and not found.flags & rt.TENTATIVE
        ]
        defaults = _defaults(netlink, names)
    return Links(tuple(sorted(addresses, key=str)), defaults)


def _defaults(netlink: Netlink, names: dict[int, str]) -> frozenset[tuple[str, str]]:
    return frozenset(
        (names[route.index], route.gateway)
        for family in (socket.AF_INET, socket.AF_INET6)
        for route in map(rt.parse_route, netlink.dump(Kind.GET_ROUTE, rt.every_route(family, TABLE_MAIN)))
        if _is_default(route) and route.index in names
    )


def _is_default(route: rt.Route) -> bool:
    return (route.table, route.destination.prefixlen, route.kind) == (TABLE_MAIN, 0, rt.UNICAST)


def stir_of(message: rt.Message, *, tun: str, own_port: int) -> Stir:
    """What a notice of the kernel is about. Whatever `own_port` brought about is known already. Raises WireError."""
    own = own_port != 0 and message.port == own_port
    match message.kind:
        case Kind.NEW_LINK | Kind.DEL_LINK:
            return Stir(links=True, routes=not own and rt.parse_link(message.body).name == tun)
        case Kind.NEW_ADDRESS:
            return Stir(links=True)
        case Kind.DEL_ADDRESS:
            return Stir(links=True, routes=not own)
        case Kind.NEW_RULE | Kind.DEL_RULE:
            return Stir(routes=not own)
        case Kind.NEW_ROUTE | Kind.DEL_ROUTE if not own:
            route = rt.parse_route(message.body)
            return Stir(links=_is_default(route), routes=route.table == TABLE)
    return NOTHING


class Listener:
    """Notices as they come; `stirred` is set while `stir` says something."""

    def __init__(self, tun: str, own_port: int) -> None:
        self.tun = tun
        self.own_port = own_port
        self.stir = NOTHING
        self.stirred = asyncio.Event()
        self.socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE)
        self.socket.bind((0, GROUPS))

    def take(self) -> None:
        """Read what came. Notices that were lost, or cannot be read, may have been about anything."""
        for _ in range(AT_ONCE):
            try:
                datagram = self.socket.recv(DATAGRAM)
                for message in rt.messages(datagram):
                    self._note(stir_of(message, tun=self.tun, own_port=self.own_port))
            except BlockingIOError:
                return
            except WireError:
                self._note(EVERYTHING)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                self._note(EVERYTHING)

    def _note(self, stir: Stir) -> None:
        self.stir |= stir
        if self.stir != NOTHING:
            self.stirred.set()


async def changes(tun: str, own_port: int) -> AsyncIterator[Stir]:
    """Yield after each burst of changes. `own_port`: of the socket that sets our own routes."""
    loop = asyncio.get_running_loop()
    listener = Listener(tun, own_port)
    with listener.socket:
        loop.add_reader(listener.socket, listener.take)
        try:
            while True:
                await listener.stirred.wait()
                await asyncio.sleep(SETTLE)
                listener.stirred.clear()
                stir, listener.stir = listener.stir, NOTHING
                yield stir
        finally:
            loop.remove_reader(listener.socket)
