"""The way out by IPv4: the default route with the lowest metric, and our address towards its router.

Room: shell.
"""

from __future__ import annotations

import socket
from ipaddress import AddressValueError, IPv4Address, IPv4Interface

from ginnel.core.node.addresses import is_private
from ginnel.core.node.portmap.actions import Gateway
from ginnel.core.node.routing import TABLE_MAIN
from ginnel.shell.node.netlink import Netlink
from ginnel.wire import rtnetlink as rt
from ginnel.wire.rtnetlink import Kind


def read_gateway(tun: str) -> Gateway | None:
    """None: there is no router with a private address, so none to ask for a port. Raises OSError."""
    with Netlink() as netlink:
        links = map(rt.parse_link, netlink.dump(Kind.GET_LINK, rt.every_link()))
        names = {link.index: link.name for link in links if link.up and link.name != tun}
        routes = map(rt.parse_route, netlink.dump(Kind.GET_ROUTE, rt.every_route(socket.AF_INET, TABLE_MAIN)))
        addresses = list(map(rt.parse_address, netlink.dump(Kind.GET_ADDRESS, rt.every_address())))
    route = min((route for route in routes if _leads_out(route, names)), key=lambda route: route.metric, default=None)
    return _towards(route, names[route.index], addresses) if route is not None else None


def _leads_out(route: rt.Route, names: dict[int, str]) -> bool:
    is_default = (route.table, route.destination.prefixlen, route.kind) == (TABLE_MAIN, 0, rt.UNICAST)
    return is_default and route.index in names and bool(route.gateway)


def _towards(route: rt.Route, name: str, addresses: list[rt.Address]) -> Gateway | None:
    try:
        router = IPv4Address(route.gateway)
    except AddressValueError:  # an IPv4 route by an IPv6 router (RFC 5549)
        return None
    own = [a.interface for a in addresses if a.index == route.index and isinstance(a.interface, IPv4Interface)]
    near = [interface.ip for interface in own if router in interface.network]
    return Gateway(name, near[0], router) if near and is_private(router) else None
