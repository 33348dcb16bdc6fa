"""Names and addresses that a stranger wrote, before they come near a firewall: what passes is safe in any rule.

Room: core. A name is letters, digits, hyphens and dots (RFC 1123 §2.1), which leaves nothing to quote, to end a line or
to start an option with; and it has a dot, so that it is no keyword such as `any`.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ginnel.words import IpAddress

IpNetwork = IPv4Network | IPv6Network
MAX_NAME = 253
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})+")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL = ("localhost", "localdomain", "invalid")

# IANA's special-purpose registries, less the ranges for documentation: labs and examples live there, and nobody else.
_NOT_PUBLIC_V4 = tuple(
    ip_network(text)
    for text in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "224.0.0.0/3",
    )
)  # fmt: skip
_PUBLIC_V6 = ip_network("2000::/3")
_NOT_PUBLIC_V6 = tuple(ip_network(text) for text in ("2001::/32", "2001:10::/28", "2001:20::/28", "2002::/16"))


class Refused(ValueError):
    """One line: what was refused and why, without the stranger's own words where they could do harm."""


def checked_name(text: str) -> str:
    """The host name in lower case without a final dot. Raises Refused."""
    name = text.removesuffix(".").lower()
    if len(name) > MAX_NAME or not text.isascii() or not _NAME.fullmatch(name):
        raise Refused(f"the host name {text[:80]!r} is no full name of letters, digits, hyphens and dots")
    last = name.rpartition(".")[2]
    if _NUMBER.fullmatch(last):
        raise Refused(f"the host name {name[:80]!r} would be read as an address")
    if last in _LOCAL:
        raise Refused(f"the host name {name[:80]!r} means this machine or nobody")
    return name


def is_public(address: IpAddress) -> bool:
    """One that the internet routes, or that documentation uses. Addresses of private networks, of carriers' NATs and
    of the mesh itself, of this machine, of groups and of tunnels over IPv4 are not."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _NOT_PUBLIC_V6)


def literal(text: str) -> IpAddress | None:
    """The address that a text is; IPv4 inside IPv6 is unmapped. None for what is no address, or has a scope."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return None if address.scope_id else address.ipv4_mapped or address
    return address


def checked_address(
    address: IpAddress, *, allowed: tuple[IpNetwork, ...] = (), own: frozenset[IpAddress] = frozenset()
) -> IpAddress:
    """The address, where it is public and not this machine's, or in a network that the user allowed. Raises Refused."""
    if any(address in network for network in allowed):
        return address
    if address in own:
        raise Refused(f"{address} is this machine's own address")
    if not is_public(address):
        raise Refused(f"{address} is not a public address")
    return address


def tidy(text: str, otherwise: str) -> str:
    """A short word for comments, of letters, digits, dots and hyphens: `otherwise` where nothing is left."""
    kept = "".join(c for c in text[:40] if c.isascii() and (c.isalnum() or c in ".-")).lstrip("-.")
    return kept or otherwise


def by_family(address: IpAddress) -> tuple[int, int]:
    """The order of addresses: IPv4 first."""
    return address.version, int(address)
