"""DERP maps for the tests of this folder."""

from __future__ import annotations

from typing import Any

from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion


def node(region: int, letter: str = "a", zone: str = "relays.example.com", **members: Any) -> DERPNode:
    host = members.pop("host_name", f"derp{region}{letter}.{zone}")
    return DERPNode(f"{region}{letter}", region, host, **members)


def region(number: int, *nodes: DERPNode, code: str = "") -> DERPRegion:
    return DERPRegion(number, code or f"r{number}", f"Region {number}", nodes=list(nodes) or [node(number)])


def derp_map(*regions: DERPRegion) -> DERPMap:
    return DERPMap(regions={one.region_id: one for one in regions})


def mesh(regions: int, nodes: str = "ab") -> DERPMap:
    """Regions 1 to N of so many relays, each with both addresses."""
    return derp_map(
        *(
            region(n, *(node(n, c, ipv4=f"192.0.2.{n}", ipv6=f"2001:db8::{n}:{ord(c):x}") for c in nodes))
            for n in range(1, regions + 1)
        )
    )
