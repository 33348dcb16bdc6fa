"""Needs of single relays: what rules that pin destinations must let through for each of them.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ginnel.core.firewall.needs import Host, Level, Need, Role, Service
from ginnel.words import IpAddress

FAMILIES: tuple[Literal[4, 6], ...] = (4, 6)
USUAL = (Service("tcp", 443), Service("udp", 3478))


def needs_of_region(name: str, addresses: tuple[IpAddress, ...]) -> list[Need]:
    """Of a region that is still to come, on the usual ports."""
    return needs_of_hosts([Host("", Level.L3, Role.RELAY, USUAL, addresses, region_code=name)])


def needs_of_hosts(hosts: Iterable[Host]) -> list[Need]:
    """One for each relay and service that everybody needs, in the families in which the relay has an address."""
    got = []
    for host in hosts:
        families: tuple[Literal[4, 6], ...] = tuple(f for f in FAMILIES if any(a.version == f for a in host.addresses))
        if host.role is not Role.RELAY or not families:
            continue
        for service in host.services:
            if service.port == 80:
                continue
            name = f"{'stun' if service.transport == 'udp' else 'https'} {host.region_code} {host.node}".rstrip()
            got.append(Need(name, "out", service.transport, None, service.port, (host,), families))
    return got
