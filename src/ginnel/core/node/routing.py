"""What the kernel must be told so that mesh addresses go into the tunnel, and our own packets never do.

Room: core. Which routes follow from the map, and what separates two configurations; the shell speaks netlink.
Source: tailscale: wgengine/router/osrouter/router_linux.go (rules 5210 to 5270, table 52, mark 0x80000).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ginnel.core.node.netmap import NetMap
    from ginnel.wire.tailcfg import Node

MARK = 0x80000
MARK_MASK = 0xFF0000
TABLE = 52
TABLE_MAIN = 254
TABLE_DEFAULT = 253
SERVICE_ADDRESSES = ("100.100.100.100/32", "fd7a:115c:a1e0::53/128")
"""The mesh's own resolver: must never leave the machine by another interface."""

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Rule:
    """One `ip rule`; `table` None: unreachable. `marked`: only packets with our mark."""

    priority: int
    table: int | None
    marked: bool


RULES = (
    Rule(5210, TABLE_MAIN, marked=True),
    Rule(5230, TABLE_DEFAULT, marked=True),
    Rule(5250, None, marked=True),
    Rule(5270, TABLE, marked=False),
)


@dataclass(frozen=True, slots=True)
class Routing:
    """The tunnel interface's addresses (host prefixes) and the routes into it."""

    addresses: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()


def routing_of(netmap: NetMap, *, accept_routes: bool) -> Routing:
    """Subnet routes only when accepted; default routes never, they are an exit node's."""
    if netmap.self_node is None:
        return Routing()
    own = frozenset(_good(netmap.self_node.addresses))
    routes = set(SERVICE_ADDRESSES)
    for peer in netmap.peers.values():
        routes |= set(_routes_to(peer, accept_routes=accept_routes))
    return Routing(own, frozenset(routes) - own)


def _routes_to(peer: Node, *, accept_routes: bool) -> Iterable[str]:
    allowed = peer.addresses if peer.allowed_ips is None else peer.allowed_ips
    own = set(peer.addresses)
    for prefix in _good(allowed):
        if prefix in own or (accept_routes and ip_network(prefix).prefixlen > 0):
            yield prefix


def _good(prefixes: Iterable[str]) -> Iterable[str]:
    """Prefixes that are ones, in canonical form; a bad one must not take the others with it."""
    for prefix in prefixes:
        try:
            yield str(ip_network(prefix))
        except ValueError:
            continue
