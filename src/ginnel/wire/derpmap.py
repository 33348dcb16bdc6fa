"""What a DERP map must hold beyond its JSON, and the address that stands for a region
(tailscale: tailcfg/derpmap.go, wgengine/magicsock).

Room: wire. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address

from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion, Node
from ginnel.words import Endpoint, RegionId

MAGIC_IP = IPv4Address("127.3.3.40")  # "a packet by relay" where an address is asked for; the port is the region
STUN_PORT = 3478
DERP_PORT = 443
REGION_LIMIT = 0xFFFF
PIN = "sha256-raw:"


def magic_endpoint(region: RegionId) -> Endpoint:
    """`127.3.3.40:<region>`: in pongs by relay, in `status`, in old maps."""
    return Endpoint(MAGIC_IP, region)


def region_of(endpoint: Endpoint) -> RegionId | None:
    """The region that a magic endpoint stands for; None for a real endpoint."""
    return RegionId(endpoint.port) if endpoint.ip == MAGIC_IP and endpoint.port else None


def home_region(node: Node) -> RegionId:
    """A node's home region, also from the older `"DERP":"127.3.3.40:N"`; 0 when it has none."""
    if node.home_derp or not node.legacy_derp:
        return RegionId(node.home_derp)
    try:
        return region_of(Endpoint.parse(node.legacy_derp)) or RegionId(0)
    except ValueError:
        return RegionId(0)


def problems(derp_map: DERPMap) -> list[str]:
    """Everything that is wrong with a map, one line each; clients drop a whole map for some of these."""
    return [*_region_problems(derp_map), *_name_problems(derp_map)]


def _regions(derp_map: DERPMap) -> Iterator[tuple[int, DERPRegion]]:
    for number, region in (derp_map.regions or {}).items():
        if region is not None:  # null takes a region out
            yield number, region


def _region_problems(derp_map: DERPMap) -> Iterator[str]:
    for number, region in _regions(derp_map):
        if not 0 < number <= REGION_LIMIT:
            yield f"region {number}: the id must be between 1 and {REGION_LIMIT}"
        if region.region_id != number:
            yield f"region {number}: its RegionID says {region.region_id}"
        if not region.region_code or not region.region_name:
            yield f"region {number}: RegionCode and RegionName are both needed"
        for node in region.nodes or []:
            yield from (f"region {number}, node {node.name!r}: {problem}" for problem in _node_problems(node, number))


def _node_problems(node: DERPNode, region: int) -> Iterator[str]:
    if node.region_id != region:
        yield f"its RegionID says {node.region_id}"
    if not node.host_name:
        yield "HostName is needed"
    if not -1 <= node.stun_port <= 0xFFFF:
        yield f"STUNPort {node.stun_port} is no port"
    if not 0 <= node.derp_port <= 0xFFFF:
        yield f"DERPPort {node.derp_port} is no port"
    if node.cert_name.startswith(PIN) and not _is_pin(node.cert_name):
        yield f"CertName must be {PIN} and 64 lower-case hex digits"
    for name, text, version in (("IPv4", node.ipv4, 4), ("IPv6", node.ipv6, 6)):
        if (found := _version(text)) not in (None, version):
            yield f"{name} holds an IPv{found} address"


def _is_pin(text: str) -> bool:
    digits = text.removeprefix(PIN)
    return len(digits) == 64 and not digits.strip("0123456789abcdef")


def _version(text: str) -> int | None:
    """4 or 6; None for what is no address, which turns the family off ("none") or asks DNS ("")."""
    try:
        return ip_address(text).version
    except ValueError:
        return None


def _name_problems(derp_map: DERPMap) -> Iterator[str]:
    owner: dict[str, int] = {}
    for number, region in _regions(derp_map):
        for node in region.nodes or []:
            if not node.name:
                yield f"region {number}: a node has no name"
            elif (first := owner.setdefault(node.name, number)) != number or _twice(region, node.name):
                yield f"region {number}: the node name {node.name!r} is also used in region {first}"


def _twice(region: DERPRegion, name: str) -> bool:
    return sum(node.name == name for node in region.nodes or []) > 1
