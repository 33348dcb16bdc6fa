"""Sets of numbers as intervals, beside Python's own sets."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.firewall.lint.ints import Ints, both, joined, minus, size

SETS = st.sets(st.integers(0, 60))


def ints(values: set[int]) -> Ints:
    return joined((n, n) for n in values)


@given(SETS, SETS)
def test_intervals_do_what_sets_do(one: set[int], other: set[int]) -> None:
    assert both(ints(one), ints(other)) == ints(one & other)
    assert minus(ints(one), ints(other)) == ints(one - other)
    assert joined([*ints(one), *ints(other)]) == ints(one | other)
    assert size(ints(one)) == len(one)
