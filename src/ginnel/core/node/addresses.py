"""Which addresses may be probed and which may be advertised (control: CGNAT and ULA ranges of the tailnet).

Room: core.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ginnel.words import Endpoint, IpAddress

TAILNET_V4 = IPv4Network("100.64.0.0/10")
TAILNET_V6 = IPv6Network("fd7a:115c:a1e0::/48")


def in_tailnet(ip: IpAddress) -> bool:
    return ip in TAILNET_V4 if isinstance(ip, IPv4Address) else ip in TAILNET_V6


def is_candidate(endpoint: Endpoint) -> bool:
    """May be probed because somebody says so: not port 0, multicast, loopback, link-local of IPv6 (it has no zone
    here), broadcast, unspecified or the tailnet's own ranges. CGNAT addresses may be a peer's outer ones, but ours
    come from the same range: they are refused, as loops through the tunnel would be the price."""
    ip = endpoint.ip
    if not endpoint.port or ip.is_multicast or ip.is_loopback or ip.is_unspecified or in_tailnet(ip):
        return False
    if isinstance(ip, IPv6Address):
        return not ip.is_link_local
    return ip.packed[0] not in (0, 240, 255) and ip != IPv4Address("255.255.255.255")


def is_private(ip: IpAddress) -> bool:
    """RFC 1918 and unique local addresses."""
    if isinstance(ip, IPv6Address):
        return ip.packed[0] & 0xFE == 0xFC
    first, second = ip.packed[0], ip.packed[1]
    return first == 10 or (first, second) == (192, 168) or (first == 172 and 16 <= second < 32)
