"""The zone as text: a zone file for another server (RFC 1035 §5), or JSON for programs.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

from ginnel.core.relaydns.zone import Zone
from ginnel.wire.dns import AAAA, NS, SOA, A, read_name, text_of

TYPES = {SOA: "SOA", NS: "NS", A: "A", AAAA: "AAAA"}


def zone_file(zone: Zone) -> str:
    """Every name in full, so that it can be included anywhere."""
    origin = text_of(zone.origin)
    head = [f"$ORIGIN {origin}", *(f"; {problem}" for problem in zone.problems)]
    unknown = sorted(
        f"; {text_of(name)} {TYPES[rtype]}: not all addresses are known now" for name, rtype in zone.unknown
    )
    lines = [f"{name}\t{ttl}\tIN\t{rtype}\t{data}" for name, rtype, ttl, data in _records(zone)]
    return "\n".join([*head, *unknown, *lines]) + "\n"


def zone_json(zone: Zone) -> dict[str, Any]:
    """`incomplete`: [name, type] pairs of which some address is not known now."""
    records = [{"name": name, "type": rtype, "ttl": ttl, "data": data} for name, rtype, ttl, data in _records(zone)]
    incomplete = sorted([text_of(name), TYPES[rtype]] for name, rtype in zone.unknown)
    return {
        "zone": text_of(zone.origin),
        "serial": zone.serial,
        "records": records,
        "incomplete": incomplete,
        "problems": list(zone.problems),
    }


def _records(zone: Zone) -> Iterator[tuple[str, str, int, str]]:
    """The SOA record first: loaders want it there."""
    apex = zone.records[zone.origin]
    others = sorted((name, sets) for name, sets in zone.records.items() if name != zone.origin)
    for name, sets in [(zone.origin, apex), *others]:
        for rtype in sorted(sets, key=lambda number: (number != SOA, number)):
            for data in sets[rtype].data:
                yield text_of(name), TYPES[rtype], sets[rtype].ttl, data_text(rtype, data)


def data_text(rtype: int, data: bytes) -> str:
    if rtype == NS:
        return text_of(data)
    if rtype != SOA:
        return str(ip_address(data))
    primary, at = read_name(data, 0)
    hostmaster, at = read_name(data, at)
    numbers = (int.from_bytes(data[i : i + 4], "big") for i in range(at, len(data), 4))
    return " ".join((text_of(primary), text_of(hostmaster), *map(str, numbers)))
