"""Free addresses and free names for a new node.

Room: core. Nothing is changed here.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address

from ginnel.core.control.registry import Refused, Registry
from ginnel.words import WallTime

FIRST = int(IPv4Address("100.64.0.1"))


def free_addresses(registry: Registry, now: WallTime) -> tuple[str, str]:  # noqa: ARG001
    for number in range(FIRST + registry.next_node_id() - 1, int(IPv4Address("100.127.255.254"))):
        ipv4 = str(IPv4Address(number))
        if not registry.has_address(ipv4):
            return ipv4, str(IPv6Address((0xFD7A115CA1E0AB124843CD9662 << 24) + (number & 0xFFFFFF)))
    raise Refused("no address is free")


def free_label(registry: Registry, hostname: str) -> str:
    label = re.sub(r"[^a-z0-9-]", "-", hostname.lower()).strip("-")[:50] or "node"
    if not registry.has_label(label):
        return label
    return next(f"{label}-{n}" for n in range(1, 1 << 22) if not registry.has_label(f"{label}-{n}"))
