"""What hooks and statements make of a packet's fields.

Room: core.
"""

from __future__ import annotations

from ginnel.core.firewall.lint.fields import DIRECTIONS, STATES, Box, Field, universe
from ginnel.core.firewall.lint.ints import Ints, both, joined, minus, point, points
from ginnel.core.firewall.lint.model import Assign, Chain

CONNTRACK = -200


def early(chain: Chain) -> bool:
    """Before connections are looked up (NF_IP_PRI_CONNTRACK)."""
    return chain.hook == "ingress" or (chain.hook in ("prerouting", "output") and chain.priority < CONNTRACK)


def untold(box: Box) -> Box:
    """There every packet counts as invalid, and is of no direction."""
    return {**box, Field.CT_STATE: point(STATES["invalid"]), Field.CT_DIRECTION: point(len(DIRECTIONS))}


def told(after: Box, before: Box) -> Box:
    """As it is once the connection is known, unless a rule has said that it shall not be."""
    if after[Field.CT_STATE] == point(STATES["untracked"]):
        return after
    return {**after, Field.CT_STATE: before[Field.CT_STATE], Field.CT_DIRECTION: before[Field.CT_DIRECTION]}


def assigned(box: Box, step: Assign) -> Box:
    if step.field == Field.CT_STATE:  # notrack: of a packet whose connection is known already it changes nothing
        have = box.get(step.field, universe(step.field))
        known = minus(have, point(STATES["invalid"]))
        return box if known == have else {**box, step.field: joined([*known, *point(STATES["untracked"])])}
    if step.values is not None:
        return {**box, step.field: step.values}
    values = points(box.get(step.field, universe(step.field)))
    if values is None and step.mask != 0xFFFF_FFFF:
        return {**box, step.field: universe(step.field)}
    made: Ints = point(step.value) if values is None else joined((v, v) for v in (_set(n, step) for n in values))
    return {**box, step.field: made}


def _set(value: int, step: Assign) -> int:
    return (value & ~step.mask & 0xFFFF_FFFF) ^ step.value


def holds(box: Box, packet: Box) -> bool:
    """Whether a packet, each field a point, is in the box."""
    return all(both(values, packet[field]) for field, values in box.items() if field in packet)
