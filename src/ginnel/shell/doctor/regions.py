"""Whether relays that somebody else misses are there: a few STUN questions, as a witness.

Room: shell.
"""

from __future__ import annotations

import asyncio

import msgspec

from ginnel.core.firewall.tried import literal
from ginnel.core.node.routing import MARK
from ginnel.shell.probe.stun import look_at_stun
from ginnel.wire.derpmap import STUN_PORT
from ginnel.wire.doctor import RelayTold, Testimony
from ginnel.wire.tailcfg import DERPMap

NODES = 2  # of a region
TIMES = (0.3, 0.5)
NO_ANSWER = "no answer to STUN just now"


async def look_at_regions(derp_map: DERPMap, regions: tuple[int, ...]) -> dict[int, float | None]:
    """Seconds to the region's quickest relay, None: none answers. A region without STUN is left out."""
    found = await asyncio.gather(*(_region(derp_map, number) for number in regions))
    return {number: seconds for number, seconds in zip(regions, found, strict=True) if seconds != 0.0}


async def _region(derp_map: DERPMap, number: int) -> float | None:
    """0.0: there is nobody to ask."""
    region = (derp_map.regions or {}).get(number)
    places = [
        (address, node.stun_port or STUN_PORT)
        for node in ((region.nodes or [])[:NODES] if region is not None else [])
        for address in (node.ipv4, node.ipv6)
        if node.stun_port >= 0 and literal(address) is not None
    ]
    if not places:
        return 0.0
    seen = await asyncio.gather(*(look_at_stun(ip, port, mark=MARK, times=TIMES) for ip, port in places))
    return min((one.seconds for one in seen if one.mapped is not None), default=None)


def with_regions(told: Testimony, looked: dict[int, float | None]) -> Testimony:
    """What was looked at just now in place of what was known. Silence counts where UDP works at all."""
    relays = {relay.region: relay for relay in told.relays}
    for number, seconds in looked.items():
        before = relays.get(number, RelayTold(number))
        if seconds is not None:
            relays[number] = msgspec.structs.replace(before, latency=seconds, problem="")
        elif told.udp and not before.connected:
            relays[number] = msgspec.structs.replace(before, latency=None, problem=before.problem or NO_ANSWER)
    return msgspec.structs.replace(told, relays=tuple(relay for _, relay in sorted(relays.items())))
