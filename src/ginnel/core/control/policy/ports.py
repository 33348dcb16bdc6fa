"""Protocols and ports as policies write them (IANA protocol numbers; headscale: hscontrol/policy/v2/types.go).

Room: core. Text with its place becomes numbers; no sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

import re
from itertools import pairwise

from ginnel.core.control.policy.model import ALL_PORTS, PolicyError, Ports
from ginnel.wire.hujson import Value

PROTOCOLS = {
    "icmp": 1, "igmp": 2, "ipv4": 4, "ip-in-ip": 4, "tcp": 6, "egp": 8, "igp": 9, "udp": 17, "gre": 47, "esp": 50,
    "ah": 51, "ipv6-icmp": 58, "sctp": 132, "fc": 133,
}  # fmt: skip
WITH_PORTS = frozenset({6, 17, 132})

_NUMBER = re.compile(r"[1-9][0-9]{0,2}")
_PORT = r"(0|[1-9][0-9]{0,4})"
_RANGE = re.compile(rf"{_PORT}(?:-{_PORT})?")


def wrong(value: Value, message: str) -> PolicyError:
    return PolicyError(value.line, value.column, message)


def read_protocol(value: Value) -> int:
    """`"tcp"`, `"6"` or 6."""
    written = value.data
    if isinstance(written, str) and written in PROTOCOLS:
        return PROTOCOLS[written]
    if isinstance(written, str) and _NUMBER.fullmatch(written):
        written = int(written)
    if isinstance(written, int) and not isinstance(written, bool) and 1 <= written <= 255:
        return written
    raise wrong(value, f"unknown protocol {written!r}: write a number from 1 to 255, or {', '.join(PROTOCOLS)}")


def read_ports(text: str, value: Value) -> Ports:
    """`22`, `80,443`, `1000-2000` or `*`; overlapping ranges are refused."""
    if text == "*":
        return ALL_PORTS
    ranges = sorted(_range(item, value) for item in text.split(","))
    for (_, last), (first, end) in pairwise(ranges):
        if first <= last:
            raise wrong(value, f"port {spell_ports(((first, end),))} is in {text!r} twice: name each port once")
    return tuple(ranges)


def _range(item: str, value: Value) -> tuple[int, int]:
    found = _RANGE.fullmatch(item)
    if found is None:
        raise wrong(value, f"{item!r} is no port: write 22, 80,443 (no spaces), 1000-2000 or *")
    first, last = int(found[1]), int(found[2] or found[1])
    if not first <= last <= 0xFFFF:
        raise wrong(value, f"{item!r} is no port range: write the lower port first, 65535 at most")
    return first, last


def spell_ports(ports: Ports) -> str:
    """As the policy writes them."""
    if ports == ALL_PORTS:
        return "*"
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ports)


def need_ports_known(protocols: tuple[int, ...], ports: Ports, value: Value) -> None:
    """Only TCP, UDP and SCTP have ports; a filter cannot match others by one."""
    if ports != ALL_PORTS and protocols and not WITH_PORTS.issuperset(protocols):
        raise wrong(value, f"protocol {protocols[0]} has no ports: write * instead of {spell_ports(ports)}")
