from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.deadlines import Deadlines
from ginnel.words import Instant

steps = st.lists(
    st.tuples(st.just("set"), st.integers(0, 5), st.none() | st.integers(0, 50))
    | st.tuples(st.just("pop"), st.integers(0, 50), st.none()),
    max_size=200,
)


@given(steps)
def test_it_wakes_as_a_plain_table_would(sequence: list[tuple[str, int, int | None]]) -> None:
    heap: Deadlines[int] = Deadlines()
    table: dict[int, Instant] = {}
    for what, number, at in sequence:
        if what == "pop":
            due = [name for name, when in table.items() if when <= number]
            assert sorted(heap.pop_due(Instant(float(number)))) == sorted(due)
            for name in due:
                del table[name]
        else:
            heap.set(number, None if at is None else Instant(float(at)))
            table.pop(number, None)
            if at is not None:
                table[number] = Instant(float(at))
        assert heap.next() == min(table.values(), default=None)


def test_a_name_set_a_million_times_stays_one_entry() -> None:
    heap: Deadlines[str] = Deadlines()
    for at in range(100_000):
        heap.set("peer", Instant(float(at)))
    assert len(heap._heap) < 200
