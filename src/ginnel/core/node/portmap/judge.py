"""Whether what a router grants can be what it says. Routers lie by mistake, and whoever plays the router lies on
purpose: what passes here is advertised to the whole mesh.

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address

from ginnel.core.node.addresses import in_tailnet, is_private
from ginnel.core.node.portmap.actions import Granted
from ginnel.core.node.portmap.constants import LIFETIME_MIN, LOWEST_PORT


def objection(granted: Granted) -> str | None:
    """Why a grant is refused, as a short word to count it by; None: nothing speaks against it. A private address
    passes: a router behind another NAT, a candidate that does no harm."""
    ip = granted.external
    if granted.port < LOWEST_PORT:
        return "low_port"
    if granted.lifetime < LIFETIME_MIN:
        return "short_lifetime"
    if ip.is_unspecified or ip.packed[0] == 0:
        return "no_address"
    if ip.is_loopback or ip.is_multicast or ip.is_link_local or ip.packed[0] >= 240:
        return "impossible_address"
    if in_tailnet(ip):
        return "tailnet_address"
    return None


def is_foreign(mapped: IPv4Address, seen: Iterable[IPv4Address]) -> bool:
    """Whether STUN servers outside saw us, and never at this address: then it is somebody else's, and we would send
    our peers' probes to a stranger. A server within our own network sees a private address, which proves nothing."""
    outside = {ip for ip in seen if not is_private(ip)}
    return not is_private(mapped) and bool(outside) and mapped not in outside
