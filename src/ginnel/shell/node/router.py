"""Addresses, routes and policy rules of the tunnel: brought to what is wanted, whatever stands there.

Room: shell. Everything of ours carries our protocol number: only such entries are ever removed, so another program's
stay, and what a killed daemon left behind is found again. What stands is known from one look at the kernel and from
what was done since; only when somebody else had a hand in it (`moved`) is it looked at anew.
"""

from __future__ import annotations

import errno
import os
import socket
from dataclasses import replace
from ipaddress import ip_interface, ip_network

from ginnel.core.node.routing import MARK, MARK_MASK, RULES, TABLE, Routing
from ginnel.shell.node.netlink import FAMILY_OFF, Netlink, Request
from ginnel.wire import rtnetlink as rt
from ginnel.wire.rtnetlink import Address, Kind, Route, Rule

PROTOCOL = 103
"""Our mark on rules and routes (`ip rule` shows `proto 103`); free in iproute2's rt_protos."""

FAMILIES = (socket.AF_INET, socket.AF_INET6)
METRIC_V6 = 1024  # what the kernel makes of none
LAST_RESORT = 20000  # the metric of the unreachable routes behind those into the tunnel
PROBLEMS_TOLD = 3
ABSENT = frozenset({errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL, errno.ENODEV})

Entry = Address | Route | Rule


class Router:
    """One TUN interface. All methods can be called again and again. `problems`: what the kernel refused."""

    def __init__(self, tun: str) -> None:
        self._tun = tun
        self._netlink: Netlink | None = None
        self._known: set[Entry] | None = None
        self._settled: Routing | None = None  # what stands for certain, of which only the difference must be thought of
        self._index = 0
        self.problems: list[str] = []

    @property
    def port(self) -> int:
        """Notices of the kernel that name this port tell of our own doing. Raises OSError."""
        return self._open().port

    def moved(self) -> None:
        """Somebody else changed something."""
        self._known = self._settled = None

    def apply(self, wanted: Routing) -> None:
        """Make the kernel's state the wanted one, by the least changes; it is so when this returns."""
        self._bring_about(wanted)

    def clear(self) -> None:
        """Remove all that is ours. The interface may be gone already, and its addresses and routes with it."""
        self._bring_about(Routing())

    def close(self) -> None:
        if self._netlink is not None:
            self._netlink.close()
        self._netlink = self._known = self._settled = None

    def _open(self) -> Netlink:
        if self._netlink is None:
            self._netlink = Netlink()
        return self._netlink

    def _bring_about(self, wanted: Routing) -> None:
        refused: list[str] = []
        try:
            self._look()
            if wanted.addresses and not self._index:
                refused.append(f"the interface {self._tun} is gone; restart ginneld")
            new, old = self._difference(wanted)
            refused += self._change(new, old)
            if any(isinstance(each, Address) for each in old):  # with the last of a family the kernel takes its routes
                self.moved()
                self._look()
                refused += self._change(*self._difference(wanted))
            self._settled = None if refused else wanted
        except OSError as error:
            self._known = self._settled = None
            refused.append(f"routes cannot be set: {error.strerror or error}")
        more = [f"and {len(refused) - PROBLEMS_TOLD} more like it"] if len(refused) > PROBLEMS_TOLD else []
        self.problems = refused[:PROBLEMS_TOLD] + more

    def _look(self) -> None:
        """Find the interface, and read what stands where it is not known."""
        netlink = self._open()
        try:
            index = socket.if_nametoindex(self._tun)
        except OSError:
            index = 0
        if self._known is None or index != self._index:
            self._known, self._settled, self._index = ours(netlink, index), None, index
            if index:
                netlink.perform([(Kind.NEW_LINK, 0, rt.link_up(index))])

    def _difference(self, wanted: Routing) -> tuple[set[Entry], set[Entry]]:
        """What is to be added and what removed."""
        known, settled = self._known or set(), self._settled
        if settled is None or settled.closed != wanted.closed or not (settled.routes and wanted.routes):
            everything = entries(wanted, self._index)
            return everything - known, known - everything
        new = entries(without(wanted, settled), self._index)
        old = entries(without(settled, wanted), self._index)
        kept = wanted.addresses | wanted.routes
        return new - known, {each for each in old - new if not _still_serves(each, kept)}

    def _change(self, new: set[Entry], old: set[Entry]) -> list[str]:
        """New ones first, in the order of `_rank`; what goes, goes in the opposite order. So at no moment is there a
        peer's address without a route that keeps its packets from the other interfaces."""
        known, netlink = self._known, self._netlink
        assert known is not None
        assert netlink is not None
        adding, removing = sorted(new, key=_rank), sorted(old, key=_rank, reverse=True)
        errors = netlink.perform([*map(_add, adding), *map(_remove, removing)])
        refused = []
        for entry, error in zip(adding, errors, strict=False):
            if error in (0, errno.EEXIST) or error in FAMILY_OFF:
                known.add(entry)
            if error and error not in FAMILY_OFF and not (error == errno.EEXIST and isinstance(entry, Rule)):
                refused.append(f"cannot add {_named(entry)}: {os.strerror(error)}")
        for entry, error in zip(removing, errors[len(adding) :], strict=True):
            if error == 0 or error in ABSENT or error in FAMILY_OFF:
                known.discard(entry)
            else:
                refused.append(f"cannot remove {_named(entry)}: {os.strerror(error)}")
        return refused


def entries(wanted: Routing, index: int) -> set[Entry]:
    """What has to stand for it; `index` 0: without an interface."""
    if not wanted.addresses and not wanted.routes:
        return set()
    found: set[Entry] = {
        Rule(family, each.priority, each.table, MARK * each.marked, MARK_MASK * each.marked, PROTOCOL)
        for family in FAMILIES
        for each in RULES
    }
    if index:
        found |= {Address(index, ip_interface(text)) for text in wanted.addresses}
    for network in map(ip_network, wanted.routes | wanted.addresses):
        found.add(Route(network, TABLE, PROTOCOL, rt.UNREACHABLE, metric=LAST_RESORT))
    for network in map(ip_network, wanted.routes) if index and not wanted.closed else ():
        metric = METRIC_V6 if network.version == 6 else 0
        found.add(Route(network, TABLE, PROTOCOL, rt.UNICAST, index, metric))
    return found


def without(routing: Routing, other: Routing) -> Routing:
    return replace(routing, addresses=routing.addresses - other.addresses, routes=routing.routes - other.routes)


def _still_serves(entry: Entry, kept: frozenset[str]) -> bool:
    """Rules serve all, and what refuses packets for a prefix serves it as an address and as a route."""
    if isinstance(entry, Route) and entry.kind == rt.UNREACHABLE:
        return str(entry.destination) in kept
    return isinstance(entry, Rule)


def ours(netlink: Netlink, index: int) -> set[Entry]:
    """What stands, in the form of `entries`."""
    found: set[Entry] = set()
    for family in FAMILIES:
        rules = map(rt.parse_rule, netlink.dump(Kind.GET_RULE, rt.every_rule(family)))
        found |= {each for each in rules if each.protocol == PROTOCOL}
        routes = map(rt.parse_route, netlink.dump(Kind.GET_ROUTE, rt.every_route(family, TABLE)))
        found |= {_plain(each) for each in routes if (each.protocol, each.table) == (PROTOCOL, TABLE)}
    for each in map(rt.parse_address, netlink.dump(Kind.GET_ADDRESS, rt.every_address())) if index else ():
        if each.index == index and not each.interface.is_link_local:
            found.add(Address(index, each.interface))
    return found


def _plain(route: Route) -> Route:
    """The kernel shows the loopback interface on an unreachable route of IPv6."""
    return replace(route, index=0) if route.kind == rt.UNREACHABLE else route


def _rank(entry: Entry) -> tuple[int, str]:
    match entry:
        case Route(kind=rt.UNREACHABLE):
            return 0, str(entry.destination)
        case Rule():
            return 1, f"{entry.priority:5}"
        case Address():
            return 2, str(entry.interface)
        case _:
            return 3, str(entry.destination)


def _add(entry: Entry) -> Request:
    kinds = {Address: Kind.NEW_ADDRESS, Route: Kind.NEW_ROUTE, Rule: Kind.NEW_RULE}
    return kinds[type(entry)], rt.CREATE | rt.EXCLUSIVE, _body(entry)


def _remove(entry: Entry) -> Request:
    kinds = {Address: Kind.DEL_ADDRESS, Route: Kind.DEL_ROUTE, Rule: Kind.DEL_RULE}
    return kinds[type(entry)], 0, _body(entry)


def _body(entry: Entry) -> bytes:
    match entry:
        case Address():
            return rt.address(entry)
        case Route():
            return rt.route(entry)
        case Rule():
            return rt.rule(entry)


def _named(entry: Entry) -> str:
    match entry:
        case Address():
            return f"the address {entry.interface}"
        case Route():
            return f"the route to {entry.destination}"
        case Rule():
            return f"the policy rule {entry.priority}"
