"""What is kept: each client has a ring, unclaimed ids share a corner, and nothing outlives the retention."""

from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.logs import limits
from ginnel.core.logs.shelf import Segment, Shelf, Space

MIB = limits.MIB
DAY = 86400.0
SPACE = Space(retention=30 * DAY, total=16 * MIB, per_node=2 * MIB)


def write(shelf: Shelf, log_id: str, size: int, wall: float, known: frozenset[str]) -> list[Segment]:
    stamp = shelf.stamp(wall)
    segment, new = shelf.place(log_id, stamp, size)
    assert new == (segment.size == 0)
    shelf.grew(segment, stamp, size)
    return shelf.evict(wall, known, wrote=log_id)


def test_stamps_rise_also_when_the_clock_is_set_back() -> None:
    shelf = Shelf(SPACE)
    stamps = [shelf.stamp(wall) for wall in (100.0, 100.0, 50.0, 101.0)]
    assert stamps == [100_000_000, 100_000_001, 100_000_002, 101_000_000]


def test_a_client_that_writes_without_end_loses_its_own_oldest_lines_alone() -> None:
    shelf = Shelf(SPACE)
    known = frozenset({"quiet", "loud"})
    write(shelf, "quiet", 1000, 1.0, known)
    gone = [s for i in range(1000) for s in write(shelf, "loud", 10_000, 2.0 + i, known)]
    assert {segment.log_id for segment in gone} == {"loud"}
    assert [segment.begun for segment in gone] == sorted(segment.begun for segment in gone)
    assert SPACE.per_node * 0.9 < shelf.used["loud"] <= SPACE.per_node


def test_ids_that_nobody_claims_share_an_eighth_and_disturb_nobody() -> None:
    shelf = Shelf(SPACE)
    known = frozenset({"ours"})
    write(shelf, "ours", 1_500_000, 1.0, known)
    gone = [s for i in range(3000) for s in write(shelf, f"made up {i}", 5_000, 2.0 + i, known)]
    assert all(segment.log_id != "ours" for segment in gone)
    assert shelf.total - shelf.used["ours"] <= SPACE.total // limits.UNKNOWN_SHARE
    assert gone[0].log_id == "made up 0"


def test_the_number_of_unclaimed_ids_is_bounded() -> None:
    shelf = Shelf(Space(DAY, 1 << 40, 1 << 30))
    for i in range(limits.MAX_UNKNOWN_IDS + 50):
        write(shelf, str(i), 10, 1.0 + i, frozenset())
    assert len(shelf.rows) == limits.MAX_UNKNOWN_IDS
    assert "49" not in shelf.rows
    assert "50" in shelf.rows


def test_when_all_is_full_who_has_most_loses_its_oldest() -> None:
    space = Space(30 * DAY, 4 * MIB, 4 * MIB)
    shelf = Shelf(space)
    known = frozenset({"a", "b"})
    write(shelf, "b", 100_000, 1.0, known)
    gone = [s for i in range(500) for s in write(shelf, "a", 10_000, 2.0 + i, known)]
    assert {segment.log_id for segment in gone} == {"a"}
    assert shelf.total <= space.total


def test_no_line_outlives_the_retention() -> None:
    shelf = Shelf(SPACE)
    for day in range(40):
        write(shelf, "a", 100, day * DAY, frozenset({"a"}))
        shelf.evict(day * DAY, frozenset({"a"}))
        assert all(segment.begun >= (day * DAY - SPACE.retention) * 1e6 for segment in shelf.rows["a"])
    assert len(shelf.rows["a"]) == 31
    assert len(shelf.evict(1000 * DAY, frozenset())) == 31
    assert (shelf.rows, shelf.used, shelf.total) == ({}, {}, 0)


def test_a_segment_of_another_process_is_not_added_to() -> None:
    shelf = Shelf(SPACE)
    shelf.put(Segment("a", 5, 9, size=100))
    segment, new = shelf.place("a", shelf.stamp(0.0), 10)
    assert (new, segment.begun) == (True, 10)


def test_a_reader_begins_near_what_it_looks_for() -> None:
    shelf = Shelf(Space(DAY, 1 << 30, 1 << 30))
    for i in range(100):
        write(shelf, "a", 10_000, 1.0 + i, frozenset({"a"}))
    (segment,) = shelf.after(50_000_000)
    assert segment.begin(0) == 0
    assert 49 * 10_000 - limits.MARK_EVERY <= segment.begin(50_000_000) <= 49 * 10_000
    assert shelf.after(segment.ended) == []


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 3 * MIB), st.floats(0, 40 * DAY)), max_size=60))
def test_the_bounds_hold_and_the_counts_are_true_after_any_writes(writes: list[tuple[str, int, float]]) -> None:
    shelf = Shelf(SPACE)
    known = frozenset("abc")
    for log_id, size, wall in writes:
        write(shelf, log_id, size, wall, known)
        assert shelf.used == {i: sum(s.blocks for s in row) for i, row in shelf.rows.items()}
        assert shelf.total == sum(shelf.used.values()) <= SPACE.total
        assert max(shelf.used.values(), default=0) <= SPACE.per_node
        assert sum(size for i, size in shelf.used.items() if i not in known) <= SPACE.unknown
