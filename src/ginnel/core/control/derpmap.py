"""The full DERP map: the fleet's relays, regions of the configuration, and maps from elsewhere
(tailscale: tailcfg/derpmap.go).

Room: core. Every node stands in it with all its addresses, before anything is edited for clients (derp_views.py). What
else names relays, such as the DNS zone, is a function of this map.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address

import msgspec

from ginnel.core.control.fleet_records import FleetRegion
from ginnel.wire.tailcfg import DERPHomeParams, DERPMap, DERPNode, DERPRegion

replace = msgspec.structs.replace


@dataclass(frozen=True, slots=True)
class Standing:
    """A relay of the fleet that is in the map now."""

    node: DERPNode
    draining: bool = False


def full_map(
    extras: Sequence[DERPMap],
    static: Mapping[int, DERPRegion],
    fleet: Iterable[Standing],
    regions: Mapping[int, FleetRegion],
) -> DERPMap:
    """Later ones win where numbers meet: extra maps in order (a null takes a region out), the configuration's regions,
    and what the admin said of regions; relays of the fleet join the region that is there."""
    merged: dict[int, DERPRegion] = {}
    scores: dict[int, float] = {}
    for extra in extras:
        for number, region in (extra.regions or {}).items():
            if region is None:
                merged.pop(number, None)
            else:
                merged[number] = region
        scores.update((extra.home_params.region_score if extra.home_params else None) or {})
    merged.update(static)
    draining = _with_fleet(merged, list(fleet), regions)
    for number, said in regions.items():
        if number in merged:
            merged[number] = _as_said(merged[number], said)
            if said.score:
                scores[number] = said.score
    _not_homes(merged, draining)
    params = DERPHomeParams(region_score=scores) if scores else None
    return DERPMap(home_params=params, regions=dict(sorted(merged.items())))


def _with_fleet(merged: dict[int, DERPRegion], fleet: list[Standing], regions: Mapping[int, FleetRegion]) -> set[int]:
    """Put the relays into their regions; those that drain come last. Returns the regions that drain as a whole."""
    by_region: dict[int, list[Standing]] = {}
    for standing in fleet:
        by_region.setdefault(standing.node.region_id, []).append(standing)
    draining = set()
    for number, members in by_region.items():
        there = merged.get(number)
        before = list(there.nodes or ()) if there is not None else []
        members.sort(key=lambda standing: (standing.draining, standing.node.name))
        names = {node.name for node in before}
        nodes = before + [standing.node for standing in members if standing.node.name not in names]
        merged[number] = replace(there, nodes=nodes) if there is not None else _region(number, nodes, regions)
        if not before and all(standing.draining for standing in members):
            draining.add(number)
    return draining


def _region(number: int, nodes: list[DERPNode], regions: Mapping[int, FleetRegion]) -> DERPRegion:
    said = regions.get(number) or FleetRegion(number)
    return DERPRegion(number, said.code or str(number), said.name or said.code or str(number), nodes=nodes)


def _as_said(region: DERPRegion, said: FleetRegion) -> DERPRegion:
    return replace(
        region,
        region_code=said.code or region.region_code,
        region_name=said.name or region.region_name,
        latitude=said.latitude or region.latitude,
        longitude=said.longitude or region.longitude,
        avoid=said.avoid or region.avoid,
        no_measure_no_home=said.no_home or region.no_measure_no_home,
    )


def _not_homes(merged: dict[int, DERPRegion], draining: set[int]) -> None:
    """A region that drains is nobody's home, as long as there is another one that can be."""
    others = [n for n, region in merged.items() if n not in draining and not region.no_measure_no_home]
    if others:
        for number in draining:
            merged[number] = replace(merged[number], no_measure_no_home=True)


def second_region(own: DERPRegion, addresses: Sequence[str]) -> DERPRegion:
    """Other addresses of the server's own relay make a region of their own, because a client can tell a hard NAT only
    by what two STUN servers see, and a second node inside one region is not asked on a fast link."""
    parsed = [ip_address(text) for text in addresses]
    ipv4 = next((str(ip) for ip in parsed if isinstance(ip, IPv4Address)), "none")
    ipv6 = next((str(ip) for ip in parsed if not isinstance(ip, IPv4Address)), "none")
    number = own.region_id + 1
    nodes = [replace(node, name=f"{number}a", region_id=number, ipv4=ipv4, ipv6=ipv6) for node in own.nodes or ()]
    return replace(
        own,
        region_id=number,
        region_code=own.region_code + "2",
        region_name=own.region_name + ", second address",
        nodes=nodes,
    )
