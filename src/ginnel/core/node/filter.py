"""Filter rules from the server become the rows of the pump's table (tailscale: wgengine/filter).

Room: core. An entry that cannot be read is skipped: the table may only become narrower by that, never wider. So a
rule without a readable source, destination or protocol lets nothing in, and no rule at all lets nothing in.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_address, ip_network

from ginnel.core.node.actions import FilterRow
from ginnel.wire.tailcfg import FilterRule, NetPortRange

EVERYTHING = ("0.0.0.0/0", "::/0")
DEFAULT_PROTOCOLS = (6, 17, 1, 58)  # TCP, UDP, ICMP, ICMPv6
MAX_PROTOCOL = 255
MAX_PORT = 65535


def filter_rows(rules: Iterable[FilterRule]) -> tuple[FilterRow, ...]:
    """The rows of `SetFilter`. Rules that only grant capabilities open no port."""
    return tuple(row for rule in rules if (row := _row(rule)) is not None)


def _row(rule: FilterRule) -> FilterRow | None:
    sources = tuple(prefix for text in rule.src_ips for prefix in networks(text))
    destinations = tuple(entry for port_range in rule.dst_ports or () for entry in _destinations(port_range))
    protocols = _protocols(rule.ip_proto)
    return (sources, destinations, protocols) if sources and destinations and protocols else None


def networks(text: str) -> tuple[str, ...]:
    """`*`, an address, a prefix without host bits, or a range `a-b`; nothing for all else (also `cap:` sources)."""
    if text == "*":
        return EVERYTHING
    if "%" in text:  # a zone, which Python reads and the table doesn't
        return ()
    try:
        if "-" in text:
            return _range(text)
        return (str(ip_network(text)),)
    except (ValueError, TypeError):
        return ()


def _range(text: str) -> tuple[str, ...]:
    first_text, _, last_text = text.partition("-")
    first, last = ip_address(first_text), ip_address(last_text)
    if first.version != last.version or int(first) > int(last):
        return ()
    return (f"{first}-{last}",)


def _destinations(wanted: NetPortRange) -> Iterable[tuple[str, int, int]]:
    ports = wanted.ports
    if 0 <= ports.first <= ports.last <= MAX_PORT:
        for prefix in networks(wanted.ip):
            yield prefix, ports.first, ports.last


def _protocols(listed: list[int] | None) -> tuple[int, ...]:
    if not listed:
        return DEFAULT_PROTOCOLS
    return tuple(dict.fromkeys(number for number in listed if 0 <= number <= MAX_PROTOCOL))
