"""What a firewall has to let through for this mesh, as entries of the feed: a function of the map, the zone and the
server's names.

Room: core. Pure. What maps from elsewhere say is looked at: a host name that is none, or a code with other characters,
does not get into the feed, nor keep the rest out of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeVar

from ginnel.core.relaydns.zone import Zone
from ginnel.wire.allowlist import MAX_PER_ENTRY, Entry, Role, is_feed_name
from ginnel.wire.dns import AAAA, A
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import IpAddress

HTTPS, STUN, HTTP = 443, 3478, 80
_Ip = TypeVar("_Ip", IPv4Address, IPv6Address)
_CODE = re.compile(r"[A-Za-z0-9_.-]{1,64}")


@dataclass(frozen=True, slots=True)
class ServerNames:
    """Where clients find the server. `host`: a name or an address; `login`: of its pages; `logs`: of the log host."""

    host: str
    port: int = HTTPS
    login: str = ""
    logs: tuple[str, ...] = ()


def entries_of(derp_map: DERPMap, names: ServerNames, zone: Zone | None = None, origin: str = "") -> tuple[Entry, ...]:
    """`derp_map`: all that any client may be given, with addresses. `zone`: of the relays, `origin`: its name."""
    found = list(server_entries(names))
    for number, region in sorted((derp_map.regions or {}).items()):
        if region is not None:
            found += region_entries(number, region, zone, origin)
    return tuple(found)


def server_entries(names: ServerNames) -> Iterator[Entry]:
    port = f"{names.port}/tcp"
    yield from _named(names.host, "control", (port,))
    yield from _named(names.login or names.host, "login", (port,))
    for name in names.logs:
        yield from _named(name, "log", (f"{HTTPS}/tcp",))


def _named(host: str, role: Role, ports: tuple[str, ...]) -> Iterator[Entry]:
    name, v4, v6 = _host(host)
    if name or v4 or v6:
        yield Entry(name, "SNI" if name else "L3", role, ports, v4, v6)


def region_entries(number: int, region: DERPRegion, zone: Zone | None, origin: str) -> Iterator[Entry]:
    """Each relay, and with a zone the name that has them all."""
    relays = [relay_entry(node, region) for node in region.nodes or ()]
    relays = [relay for relay in relays if relay.name or relay.addresses]
    yield from relays
    label = f"derp{number}-all"
    if zone is not None and relays and is_feed_name(f"{label}.{origin}"):
        v4, v6 = _from_zone(zone, label)
        ports = tuple(dict.fromkeys(port for relay in relays for port in relay.ports))
        yield replace(relays[0], name=f"{label}.{origin}", level="L3", ports=ports, ipv4=v4, ipv6=v6, node="")


def relay_entry(node: DERPNode, region: DERPRegion) -> Entry:
    """One relay, as clients dial it: by the host name in TLS, at the map's addresses or, where it has none, DNS's."""
    name, v4, v6 = _host(node.host_name)
    for text in (node.ipv4, node.ipv6):
        _, more4, more6 = _host(text)
        v4, v6 = (*v4, *more4), (*v6, *more6)
    return Entry(
        name, "SNI" if name else "L3", "relay", _ports(node), _sorted(v4), _sorted(v6), "fast",
        region.region_id, _code(region.region_code), _code(node.name),
    )  # fmt: skip


def _ports(node: DERPNode) -> tuple[str, ...]:
    """0 is the usual port, -1 for STUN is none (tailscale: tailcfg/derpmap.go)."""
    ports = [] if node.stun_only else [f"{_port(node.derp_port, HTTPS)}/tcp"]
    ports += [] if node.stun_port < 0 else [f"{_port(node.stun_port, STUN)}/udp"]
    ports += [f"{HTTP}/tcp"] if node.can_port80 else []
    return tuple(dict.fromkeys(ports))


def _port(said: int, usual: int) -> int:
    return said if 0 < said <= 0xFFFF else usual


def _host(text: str) -> tuple[str, tuple[IPv4Address, ...], tuple[IPv6Address, ...]]:
    """A name, or an address of either family, or nothing."""
    try:
        literal: IpAddress | None = ip_address(text)
    except ValueError:
        literal = None
    if isinstance(literal, IPv4Address):
        return "", (literal,), ()
    if literal is not None:
        return "", (), () if literal.scope_id else (literal,)
    name = text.rstrip(".").lower()
    return (name if is_feed_name(name) and text not in ("none", "") else ""), (), ()


def _sorted(addresses: Iterable[_Ip]) -> tuple[_Ip, ...]:
    return tuple(sorted(set(addresses))[:MAX_PER_ENTRY])


def _code(text: str) -> str:
    return text if _CODE.fullmatch(text) else ""


def _from_zone(zone: Zone, label: str) -> tuple[tuple[IPv4Address, ...], tuple[IPv6Address, ...]]:
    sets = zone.records.get(bytes((len(label),)) + label.encode() + zone.origin, {})
    v4 = [IPv4Address(data) for data in (sets[A].data if A in sets else ())]
    v6 = [IPv6Address(data) for data in (sets[AAAA].data if AAAA in sets else ())]
    return _sorted(v4), _sorted(v6)


def tokens(entry: Entry) -> frozenset[str]:
    """What it lets through, each way by itself: two entries that say the same have the same."""
    hosts = [*map(str, entry.addresses), *([entry.name] if entry.name else [])]
    return frozenset(f"{host} {port}" for host in hosts for port in entry.ports)
