"""A zone to test with: regions as maps have them, and its names."""

from ipaddress import ip_address

from ginnel.core.relaydns.zone import NameServer, Zone, ZoneSettings, zone_of
from ginnel.wire.dns import name_of
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion

ZONE = "relays.example.com"
SETTINGS = ZoneSettings(
    ZONE,
    (
        NameServer("ns1.relays.example.com", (ip_address("198.51.100.53"), ip_address("2001:db8::53"))),
        NameServer("ns2.example.net"),
    ),
)


def node(name: str, ipv4: str = "", ipv6: str = "", host: str = "elsewhere.example.net") -> DERPNode:
    return DERPNode(
        name=name, region_id=int("".join(c for c in name if c.isdigit()) or 0), host_name=host, ipv4=ipv4, ipv6=ipv6
    )


def region(number: int, *nodes: DERPNode) -> DERPRegion:
    return DERPRegion(region_id=number, region_code=f"r{number}", region_name=f"Region {number}", nodes=list(nodes))


def derp_map(*regions: DERPRegion) -> DERPMap:
    return DERPMap(regions={one.region_id: one for one in regions})


def both(name: str, last: int) -> DERPNode:
    return node(name, f"192.0.2.{last}", f"2001:db8::{last:x}")


def relays(number: int, count: int) -> DERPRegion:
    """`count` relays, each with both families."""
    return region(
        number,
        *(
            node(
                f"{number}{chr(97 + i % 26)}" if i < 26 else "",
                f"192.0.{2 + i // 250}.{1 + i % 250}",
                f"2001:db8::{i + 1:x}",
            )
            for i in range(count)
        ),
    )


def zone(*regions: DERPRegion, serial: int = 7, settings: ZoneSettings = SETTINGS) -> Zone:
    return zone_of(derp_map(*regions), settings).numbered(serial)


def name(label: str) -> bytes:
    return name_of(f"{label}.{ZONE}" if label else ZONE)


def addresses(found: Zone, label: str, rtype: int) -> list[str]:
    sets = found.records.get(name(label), {})
    return sorted(str(ip_address(data)) for data in sets[rtype].data) if rtype in sets else []
