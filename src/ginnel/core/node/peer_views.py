"""What the data plane reads out of a `Node`: each broken entry is skipped, the rest stands.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network

from ginnel.core.node.addresses import is_candidate
from ginnel.core.node.home_region import NO_REGION
from ginnel.wire import derpmap
from ginnel.wire.tailcfg import Node
from ginnel.words import Endpoint, RegionId

MAX_ALLOWED_IPS = 4096
MAX_MAP_ENDPOINTS = 64
OURS = "-ginnel"
"""How the version ends (Hostinfo.IPNVersion) of those who run this program."""


def home_region(node: Node) -> RegionId:
    """The region where the peer listens; 0: unknown, or no number that a region can have."""
    region = derpmap.home_region(node)
    return region if 0 < region <= derpmap.REGION_LIMIT else NO_REGION


def allowed_ips(node: Node) -> tuple[str, ...]:
    """None stands for the addresses, an empty list for nothing. Prefixes with host bits are skipped."""
    listed = node.addresses if node.allowed_ips is None else node.allowed_ips
    return prefixes(listed)


def prefixes(listed: Iterable[str]) -> tuple[str, ...]:
    """The sound prefixes, each once, in their order."""
    sound: dict[str, None] = {}
    for text in listed:
        with suppress(ValueError):
            if "%" not in text:
                sound[str(ip_network(text))] = None
        if len(sound) == MAX_ALLOWED_IPS:
            break
    return tuple(sound)


def endpoints(node: Node) -> tuple[Endpoint, ...]:
    """The endpoints a peer may be probed at, as the server lists them."""
    found: dict[Endpoint, None] = {}
    for text in (node.endpoints or ())[: 4 * MAX_MAP_ENDPOINTS]:
        try:
            endpoint = Endpoint.parse(text)
        except ValueError:
            continue
        if is_candidate(endpoint):
            found[endpoint] = None
    return tuple(found)[:MAX_MAP_ENDPOINTS]


def addresses(node: Node) -> tuple[str, ...]:
    """Its own, inside the tailnet."""
    return tuple(prefix.partition("/")[0] for prefix in prefixes(node.addresses))


def inside_addresses(own: Sequence[str], node: Node) -> tuple[str, str] | None:
    """One of ours and one of the node's, of one family: between them packets may go inside the tunnel."""
    ours = {ip_address(text).version: text for text in reversed(own)}
    for theirs in addresses(node):
        if (source := ours.get(ip_address(theirs).version)) is not None:
            return source, theirs
    return None


def own_prefixes(node: Node) -> tuple[str, ...]:
    """What this node receives for: its addresses and the routes that the server lets it serve."""
    return prefixes([*node.addresses, *(node.allowed_ips or ())])


def has_attribute(node: Node, name: str) -> bool:
    """Whether the policy gives the node this attribute, in the map's newer or older way of saying so."""
    return name in (node.cap_map or {}) or name in (node.capabilities or ())
