"""Right-hand sides of nft's JSON: literals, ranges, prefixes, sets, as numbers.

Room: core. Source: libnftables-json(5), and what nft 1.0.6 prints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address, ip_network
from typing import Any

from ginnel.core.firewall.lint.fields import (
    DIRECTIONS,
    FLAGS,
    PACKET_TYPES,
    PROTOCOLS,
    STATES,
    TYPES,
    WIDTH,
    Field,
    interface,
    network,
    universe,
)
from ginnel.core.firewall.lint.ints import Ints, both, joined, point, span

PORTS = {"ssh": 22, "domain": 53, "http": 80, "https": 443, "ntp": 123, "bootps": 67, "bootpc": 68, "mdns": 5353}
WORDS: dict[str, dict[str, int]] = {
    Field.L4PROTO: PROTOCOLS,
    Field.CT_STATE: STATES,
    Field.CT_DIRECTION: DIRECTIONS,
    Field.TO_TYPE: TYPES,
    Field.FROM_TYPE: TYPES,
    Field.PACKET_TYPE: PACKET_TYPES,
    Field.TCP_FLAGS: FLAGS,
    Field.NFPROTO: {"ipv4": 2, "ipv6": 10, "ip": 2, "ip6": 10},
    Field.SPORT: PORTS,
    Field.DPORT: PORTS,
    Field.SOCKET_UID: {"root": 0},
}
ADDRESSES = {Field.SADDR4: 4, Field.DADDR4: 4, Field.SADDR6: 6, Field.DADDR6: 6}


class NotUnderstood(Exception):
    """An expression outside of the model."""


def one(field: str, value: Any) -> int:
    """A single literal. Raises NotUnderstood."""
    if field in ADDRESSES:
        return _address(field, value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise NotUnderstood
    if isinstance(value, str):
        if value in WORDS.get(field, {}):
            return WORDS[field][value]
        try:
            value = int(value, 0)
        except ValueError:
            raise NotUnderstood from None
    if not both(point(value), universe(field)):
        raise NotUnderstood
    return int(value)


def _address(field: str, value: Any) -> int:
    try:
        address = ip_address(value if isinstance(value, str) else "")
    except ValueError:
        raise NotUnderstood from None
    if address.version != ADDRESSES[field]:  # type: ignore[index]
        raise NotUnderstood
    return int(address)


def numbers(field: str, value: Any) -> Ints:
    """A literal, range, prefix or anonymous set. Raises NotUnderstood."""
    match value:
        case {"set": list(elements)}:
            return joined(i for element in elements for i in numbers(field, element))
        case {"range": [low, high]}:
            return span(one(field, low), one(field, high))
        case {"prefix": {"addr": address, "len": int(length)}} if field in ADDRESSES:
            return _prefix(field, address, length)
        case {"elem": {"val": inner, **more}}:
            if more.keys() & {"limit", "quota", "ct count"}:
                raise NotUnderstood
            return numbers(field, inner)
        case "*" if field not in (Field.IIF, Field.OIF):
            return universe(field)
        case str() if field in (Field.IIF, Field.OIF):
            return interface(value)
        case 1 if field in (Field.IIF, Field.OIF):  # the loopback's index is always 1
            return interface("lo")
        case str() if field in ADDRESSES and "/" in value:
            start, _, bits_of_it = value.partition("/")
            return _prefix(field, start, int(bits_of_it) if bits_of_it.isdigit() else -1)
    return point(one(field, value))


def _prefix(field: str, address: Any, length: int) -> Ints:
    try:
        got = ip_network((str(address), length), strict=False)
    except ValueError:
        raise NotUnderstood from None
    if WIDTH[Field(field)] != got.max_prefixlen:
        raise NotUnderstood
    return network(got)


def bits(field: str, value: Any) -> int:
    """Flags joined: "syn", ["syn", "ack"], {"|": [...]}. Raises NotUnderstood."""
    match value:
        case list():
            return _join(bits(field, each) for each in value)
        case {"|": list(parts)}:
            return _join(bits(field, each) for each in parts)
    return one(field, value)


def _join(parts: Iterator[int]) -> int:
    got = 0
    for part in parts:
        got |= part
    return got


def any_bit(field: str, value: Any) -> Ints:
    """op `in`: what has one of these flags. States are numbers of their own here, one to a packet."""
    if field in (Field.CT_STATE, Field.CT_DIRECTION):
        each = value if isinstance(value, list) else [value]
        return joined(i for v in each for i in numbers(field, v))
    if field != Field.TCP_FLAGS:
        return numbers(field, {"set": value} if isinstance(value, list) else value)
    wanted = bits(field, value)
    return joined((n, n) for n in range(256) if n & wanted)


def compared(field: str, op: str, value: Any) -> Ints:
    """What is <, >, <=, >= the value."""
    low, high = universe(field)[0]
    edge = one(field, value)
    ways: dict[str, Callable[[], Ints]] = {
        "<": lambda: span(low, edge - 1),
        "<=": lambda: span(low, edge),
        ">": lambda: span(edge + 1, high),
        ">=": lambda: span(edge, high),
    }
    return ways[op]()
