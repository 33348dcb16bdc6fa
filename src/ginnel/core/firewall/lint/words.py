"""A class of packets in words: "from 10.0.0.0/8 on eth0".

Room: core.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, summarize_address_range

from ginnel.core.firewall.lint.fields import Box, Field, interface_text, universe
from ginnel.core.firewall.lint.ints import Ints, joined, minus, point
from ginnel.core.firewall.lint.walk import AGAIN

SHOWN = 3
ADDRESSES = (Field.SADDR4, Field.DADDR4, Field.SADDR6, Field.DADDR6)


def in_words(boxes: Sequence[Box], whole: Box, *, inward: bool) -> str:
    """What sets these packets off from the whole; "" nothing that can be told."""
    if not boxes:
        return ""
    parts = []
    for field in Field:
        if field not in whole:
            continue
        values = joined(i for box in boxes for i in box.get(field, universe(field)))
        if values != whole[field]:
            parts.append(_part(field, values, whole[field], inward=inward))
    parts += [f"within {name}" for name in _only(boxes, "%", 1)]
    parts += [f"beyond {name}" for name in _only(boxes, "%", 0)]
    parts += [f"where {name}" for name in _only(boxes, "@", 1)]
    parts += [f"unless {name}" for name in _only(boxes, "@", 0)]
    return " ".join(part for part in parts if part)


def _only(boxes: Sequence[Box], kind: str, way: int) -> list[str]:
    """Questions of the kind that all packets answer this way."""
    this, other = (
        {f[1:].partition(AGAIN)[0] for box in boxes for f, v in box.items() if f[0] == kind and v == point(n)}
        for n in (way, 1 - way)
    )
    return sorted(this - other)


def _part(field: Field, values: Ints, whole: Ints, *, inward: bool) -> str:
    if field in ADDRESSES:
        return f"{'from' if 'saddr' in field else 'to'} {_either(values, whole, field)}"
    if field in (Field.SPORT, Field.DPORT):
        theirs = (field == Field.SPORT) == inward
        return f"{'their' if theirs else 'own'} port {_either(values, whole, field)}"
    if field in (Field.IIF, Field.OIF):
        return f"on {interface_text(values)}"
    return ""


def _either(values: Ints, whole: Ints, field: Field) -> str:
    """The values, or what they leave out where that is shorter."""
    left_out = minus(whole, values)
    if len(left_out) < len(values) and len(left_out) <= SHOWN:
        return f"anything but {_list(left_out, field)}"
    return _list(values, field)


def _list(values: Ints, field: Field) -> str:
    shown = ", ".join(_interval(low, high, field) for low, high in values[:SHOWN])
    more = len(values) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def _interval(low: int, high: int, field: Field) -> str:
    if field not in ADDRESSES:
        return str(low) if low == high else f"{low}-{high}"
    make = IPv4Address if "6" not in field else IPv6Address
    if low == high:
        return str(make(low))
    networks = list(_few(make(low), make(high)))
    return str(networks[0]) if len(networks) == 1 else f"{make(low)}-{make(high)}"


def _few(low: IPv4Address | IPv6Address, high: IPv4Address | IPv6Address) -> list[object]:
    got: list[object] = []
    for network in summarize_address_range(low, high):
        got.append(network)
        if len(got) > 1:
            break
    return got
