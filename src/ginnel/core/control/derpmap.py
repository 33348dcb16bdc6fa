"""The DERP map: our own relay, and the regions that the operator adds (tailscale: tailcfg/derpmap.go).

Room: core.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion


@dataclass(frozen=True, slots=True)
class OwnRelay:
    """The relay beside the server. `host`: what clients dial, a name or an address. `pin`: SHA-256 of the certificate
    when no public authority vouches for it. `addresses`: literals to dial instead of asking DNS; with any, a family
    that has none is switched off. `second`: another address of the same relay, given as a region of its own, so that a
    client can compare what two STUN servers see: it cannot tell a hard NAT by one, and a second node inside one
    region is not asked on a fast link."""

    host: str
    region: int = 900
    code: str = "own"
    name: str = "Own relay"
    latitude: float = 0.0
    longitude: float = 0.0
    port: int = 443
    stun_port: int = 3478
    http_port: int = 80
    pin: bytes | None = None
    addresses: tuple[str, ...] = ()
    second: tuple[str, ...] = ()


def derp_map_of(own: OwnRelay | None, static: dict[int, DERPRegion]) -> DERPMap:
    """Static regions win where numbers meet. Without any region clients never leave the state Starting."""
    regions: dict[int, DERPRegion | None] = {}
    if own is not None:
        regions[own.region] = _region(own, own.region, own.code, own.name, own.addresses)
        if own.second:
            number = own.region + 1
            regions[number] = _region(own, number, own.code + "2", own.name + ", second address", own.second)
    return DERPMap(regions=dict(sorted({**regions, **static}.items())))


def _region(own: OwnRelay, number: int, code: str, name: str, addresses: tuple[str, ...]) -> DERPRegion:
    ipv4, ipv6 = _by_family(addresses or _literal(own.host))
    node = DERPNode(
        name=f"{number}a",
        region_id=number,
        host_name=own.host,
        cert_name=f"sha256-raw:{own.pin.hex()}" if own.pin is not None else "",
        ipv4=ipv4,
        ipv6=ipv6,
        stun_port=own.stun_port if own.stun_port != 3478 else 0,
        derp_port=own.port if own.port != 443 else 0,
        can_port80=own.http_port == 80,
    )
    return DERPRegion(
        region_id=number,
        region_code=code,
        region_name=name,
        latitude=own.latitude,
        longitude=own.longitude,
        nodes=[node],
    )


def _literal(host: str) -> tuple[str, ...]:
    try:
        return (str(ip_address(host)),)
    except ValueError:
        return ()


def _by_family(addresses: tuple[str, ...]) -> tuple[str, str]:
    parsed = [ip_address(text) for text in addresses]
    if not parsed:
        return "", ""
    ipv4 = next((str(ip) for ip in parsed if isinstance(ip, IPv4Address)), "none")
    ipv6 = next((str(ip) for ip in parsed if isinstance(ip, IPv6Address)), "none")
    return ipv4, ipv6
