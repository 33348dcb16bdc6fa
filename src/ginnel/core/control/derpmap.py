"""The DERP map: our own relay, and the regions that the operator adds (tailscale: tailcfg/derpmap.go).

Room: core.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, ip_address

import msgspec

from ginnel.wire.tailcfg import DERPMap, DERPRegion


def derp_map_of(own: DERPRegion | None, second: Sequence[str], static: dict[int, DERPRegion]) -> DERPMap:
    """Static regions win where numbers meet. Without any region clients never leave the state Starting.

    `second`: other addresses of the same relay. They make a region of their own, because a client can tell a hard NAT
    only by what two STUN servers see, and a second node inside one region is not asked on a fast link.
    """
    regions: dict[int, DERPRegion | None] = {}
    if own is not None:
        regions[own.region_id] = own
        if second:
            regions[own.region_id + 1] = _at(own, second)
    return DERPMap(regions=dict(sorted({**regions, **static}.items())))


def _at(own: DERPRegion, addresses: Sequence[str]) -> DERPRegion:
    parsed = [ip_address(text) for text in addresses]
    ipv4 = next((str(ip) for ip in parsed if isinstance(ip, IPv4Address)), "none")
    ipv6 = next((str(ip) for ip in parsed if not isinstance(ip, IPv4Address)), "none")
    number = own.region_id + 1
    nodes = [
        msgspec.structs.replace(node, name=f"{number}a", region_id=number, ipv4=ipv4, ipv6=ipv6)
        for node in own.nodes or ()
    ]
    return msgspec.structs.replace(
        own,
        region_id=number,
        region_code=own.region_code + "2",
        region_name=own.region_name + ", second address",
        nodes=nodes,
    )
