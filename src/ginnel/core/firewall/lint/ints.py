"""Sets of whole numbers as sorted, separate, inclusive intervals: addresses, ports, marks and even interface names.

Room: core.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

Ints = tuple[tuple[int, int], ...]

NONE: Ints = ()


def point(value: int) -> Ints:
    return ((value, value),)


def span(low: int, high: int) -> Ints:
    """Empty where low > high."""
    return ((low, high),) if low <= high else ()


def joined(pairs: Iterable[tuple[int, int]]) -> Ints:
    """The union of intervals in any order, which may touch and overlap."""
    got: list[tuple[int, int]] = []
    for low, high in sorted(pairs):
        if got and low <= got[-1][1] + 1:
            got[-1] = (got[-1][0], max(got[-1][1], high))
        else:
            got.append((low, high))
    return tuple(got)


def both(one: Ints, other: Ints) -> Ints:
    """The intersection."""
    if len(one) > len(other):
        one, other = other, one
    if len(one) * 8 < len(other):
        other = _near(one, other)
    got = []
    i = j = 0
    while i < len(one) and j < len(other):
        low, high = max(one[i][0], other[j][0]), min(one[i][1], other[j][1])
        if low <= high:
            got.append((low, high))
        if one[i][1] < other[j][1]:
            i += 1
        else:
            j += 1
    return tuple(got)


def _near(few: Ints, many: Ints) -> Ints:
    """Those of many that reach into the hull of few."""
    if not few:
        return ()
    first = max(0, bisect_left(many, (few[0][0],)) - 1)
    return many[first : bisect_left(many, (few[-1][1] + 1,))]


def minus(one: Ints, other: Ints) -> Ints:
    """What of one is not in other."""
    if not one or not other:
        return one
    first = max(0, bisect_left(one, (other[0][0],)) - 1)
    last = bisect_left(one, (other[-1][1] + 1,))
    return one[:first] + _minus(one[first:last], other) + one[last:]  # most cuts touch a few of many


def _minus(one: Ints, other: Ints) -> Ints:
    got = []
    rest = iter(_near(one, other))
    cut = next(rest, None)
    for low, high in one:
        start = low
        while cut is not None and cut[1] < start:
            cut = next(rest, None)
        while cut is not None and cut[0] <= high:
            if start < cut[0]:
                got.append((start, cut[0] - 1))
            start = cut[1] + 1
            if cut[1] > high:
                break
            cut = next(rest, None)
        if start <= high:
            got.append((start, high))
    return tuple(got)


def size(values: Ints) -> int:
    return sum(high - low + 1 for low, high in values)


def points(values: Ints, limit: int = 8) -> list[int] | None:
    """Each number, or None where there are more than the limit."""
    return [n for low, high in values for n in range(low, high + 1)] if size(values) <= limit else None
