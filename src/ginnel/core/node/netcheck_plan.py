"""What a net check sends and when (tailscale: net/netcheck/netcheck.go makeProbePlan).

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from ginnel.core.node.names import Names
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import Endpoint, RegionId

FULL_TRIES_AT = (0.0, 0.1, 0.2, 0.5, 1.0)  # ours: Tailscale gives up after the first three, and a node without its
# public address stays on the relay until the next check
STEADY_RETRANSMIT = 0.2
FASTEST_REGIONS = 3
HOME_TRIES = 4
NODES_PER_REGION = 2  # a full check asks two of a region, so that two destinations tell what the NAT does
REGIONS_MAX = 256  # of a map, by number: a broken one must not make us flood the world
RETRANSMIT_FACTOR = 1.2
RETRANSMIT_STEP = 0.05


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask `node` for our address by IP version 4 or 6, `delay` seconds after the start. The first answer of a
    `group` makes the rest of it needless."""

    delay: float
    region: RegionId
    node: DERPNode
    version: int
    group: int


def asked_regions(derp_map: DERPMap) -> list[DERPRegion]:
    """Those that may be measured, by number. One of STUN servers alone cannot be home, yet it is one more destination
    by which to tell what the NAT does."""
    regions = (region for region in (derp_map.regions or {}).values() if region is not None)
    asked = sorted((r for r in regions if not r.no_measure_no_home and r.nodes), key=lambda r: r.region_id)
    return asked[:REGIONS_MAX]


def measured_regions(derp_map: DERPMap) -> list[DERPRegion]:
    """Those that may be measured and be home, by number."""
    return [region for region in asked_regions(derp_map) if relay_nodes(region)]


def relay_nodes(region: DERPRegion) -> list[DERPNode]:
    """The nodes that carry packets, in the order of preference."""
    return [node for node in region.nodes or () if not node.stun_only]


def full_plan(derp_map: DERPMap, versions: tuple[int, ...]) -> list[Probe]:
    """Some tries to the first two nodes of each region."""
    probes: list[Probe] = []
    group = 0
    for region in asked_regions(derp_map):
        for version in versions:
            for node in _stun_nodes(region, version)[:NODES_PER_REGION]:
                group += 1
                probes += [Probe(delay, RegionId(region.region_id), node, version, group) for delay in FULL_TRIES_AT]
    return sorted(probes, key=lambda probe: probe.delay)


def incremental_plan(
    derp_map: DERPMap,
    versions: tuple[int, ...],
    latency: Mapping[RegionId, float],
    home: RegionId,
    *,
    v6_worked: bool = True,
) -> list[Probe]:
    """The fastest regions and home, at the pace of their last latency. `v6_worked`: in the report before; where it
    didn't, one try is enough to learn that it does again."""
    may = (r for r in asked_regions(derp_map) if not r.avoid or r.region_id == home)
    regions = {RegionId(region.region_id): region for region in may}
    fastest = sorted(regions.keys() & latency.keys(), key=lambda region: (latency[region], region))[:FASTEST_REGIONS]
    chosen = [*fastest, *([home] if home in regions and home not in fastest else [])]
    probes: list[Probe] = []
    group = 0
    for rank, region in enumerate(chosen):
        for version in _versions(versions, rank, is_home=region == home, v6_worked=v6_worked):
            nodes = _stun_nodes(regions[region], version)
            tries = 1 if version == 6 and not v6_worked else HOME_TRIES if region == home else 2 if rank < 2 else 1
            group += 1
            probes += [
                Probe(_pause(attempt, latency.get(region)), region, nodes[attempt % len(nodes)], version, group)
                for attempt in range(tries if nodes else 0)
            ]
    return sorted(probes, key=lambda probe: probe.delay)


def _versions(versions: tuple[int, ...], rank: int, *, is_home: bool, v6_worked: bool) -> tuple[int, ...]:
    """The third and slower regions take turns between the families where both work."""
    if rank < 2 or is_home or len(versions) <= 1:
        return versions
    return versions[rank % len(versions) :][:1] if v6_worked else versions[:1]


def _pause(attempt: int, latency: float | None) -> float:
    pace = STEADY_RETRANSMIT if latency is None else RETRANSMIT_FACTOR * latency
    return attempt * pace + (attempt * RETRANSMIT_STEP if attempt > 1 else 0.0)


def _stun_nodes(region: DERPRegion, version: int) -> list[DERPNode]:
    return [node for node in region.nodes or () if node.stun_port >= 0 and may_answer(node, version)]


def may_answer(node: DERPNode, version: int) -> bool:
    """By the map alone: a literal address of that family, or one that DNS may have."""
    for written in (node.stun_test_ip, node.ipv4 if version == 4 else node.ipv6):
        if written:
            try:
                return ip_address(written).version == version
            except ValueError:
                return False
    return True


def stun_servers(derp_map: DERPMap, names: Names, latency: Mapping[RegionId, float]) -> list[Endpoint]:
    """Over IPv4, nearest region first, each address once."""
    regions = sorted(measured_regions(derp_map), key=lambda r: latency.get(RegionId(r.region_id), float("inf")))
    found = {
        server.ip: server
        for region in reversed(regions)
        for node in reversed(region.nodes or [])
        if node.stun_port >= 0 and (server := names.stun_address(node, 4)) is not None
    }
    return list(reversed(found.values()))
