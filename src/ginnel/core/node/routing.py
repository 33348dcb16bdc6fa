"""What the kernel must be told so that mesh addresses go into the tunnel, and our own packets never do.

Room: core. Which routes follow from the map, and what separates two configurations; the shell speaks netlink.
Source: tailscale: wgengine/router/osrouter/router_linux.go (rules 5210 to 5270, table 52, mark 0x80000).

    packet for 100.64.0.2 --> rule 5270 --> table 52: 100.64.0.2 dev ginnel0             while the tunnel stands
                                                      unreachable 100.64.0.2 metric ...  when it does not

The second route outlives the device, so a daemon that is killed leaves no way for such a packet to go out in the clear.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ginnel.core.node.netmap import MapChange, NetMap
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
    """The tunnel interface's addresses (host prefixes) and the routes into it. `closed`: packets for those routes are
    refused, for the tunnel may not carry them now and nothing else may ever."""

    addresses: frozenset[str] = frozenset()
    routes: frozenset[str] = frozenset()
    closed: bool = False


def concerns_routing(change: MapChange) -> bool:
    """Whether the change can bring another routing; most are about endpoints and who is online."""
    moved = any(_prefixes(old) != _prefixes(new) for old, new in change.changed)
    return bool(change.self_node or change.added or change.removed or moved)


def routing_of(netmap: NetMap, *, accept_routes: bool, expired: bool = False) -> Routing:
    """Subnet routes only when accepted; default routes never, they are an exit node's. `expired`: our own key is."""
    if netmap.self_node is None:
        return Routing()
    own = frozenset(_good(netmap.self_node.addresses))
    routes = set(SERVICE_ADDRESSES)
    for peer in netmap.peers.values():
        routes |= set(_routes_to(peer, accept_routes=accept_routes))
    return Routing(own, frozenset(routes) - own, closed=expired)


def _prefixes(node: Node) -> tuple[list[str], list[str] | None]:
    return node.addresses, node.allowed_ips


def _routes_to(peer: Node, *, accept_routes: bool) -> Iterable[str]:
    allowed = peer.addresses if peer.allowed_ips is None else peer.allowed_ips
    own = set(peer.addresses)
    for prefix in _good(allowed):
        if prefix in own or (accept_routes and not prefix.endswith("/0")):
            yield prefix


def _good(prefixes: Iterable[str]) -> Iterable[str]:
    """Prefixes that are ones, in canonical form; a bad one must not take the others with it."""
    for prefix in prefixes:
        if canonical := _canonical(prefix):
            yield canonical


@lru_cache(maxsize=16384)
def _canonical(prefix: str) -> str:
    """ "": it is no prefix. Kept, as each change of the map asks for every peer's."""
    try:
        return str(ip_network(prefix))
    except ValueError:
        return ""
