from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.lab.line import BACKLOG_MOST, ETHERNET, UNDER_WAY_MOST, Impairment, Line

EVERY = 0.001


def frame(number: int, size: int = 100) -> bytes:
    return number.to_bytes(ETHERNET + 4, "big").ljust(size, b"\0")


def number_of(frame: bytes) -> int:
    return int.from_bytes(frame[: ETHERNET + 4], "big")


def run(how: Impairment, count: int, seed: int = 1, size: int = 100, every: float = EVERY) -> list[tuple[float, bytes]]:
    """Frames 0, 1, 2... one each `every` seconds; what came out, each at the very time that the line named."""
    line, came = Line(how, seed), []
    for number in range(count):
        now = number * every
        while (at := line.next_due()) is not None and at <= now:
            came += [(at, out) for out in line.due(at)]
        line.take(frame(number, size), now)
    while (at := line.next_due()) is not None:
        came += [(at, out) for out in line.due(at)]
    return came


def test_each_frame_takes_the_delay_and_no_longer():
    came = run(Impairment(delay=0.020), 50)
    assert [(round(at - 0.020, 9), number_of(out)) for at, out in came] == [(round(n * EVERY, 9), n) for n in range(50)]


def test_nothing_comes_before_its_time():
    line = Line(Impairment(delay=0.020), 1)
    line.take(frame(7), 100.0)
    assert line.due(100.0199) == []
    assert [number_of(out) for out in line.due(100.0201)] == [7]
    assert line.next_due() is None


@given(st.integers(0, 1 << 32), st.floats(0, 0.05), st.floats(0, 0.05))
def test_jitter_alone_never_changes_the_order(seed, delay, jitter):
    came = run(Impairment(delay=delay, jitter=jitter), 60, seed)
    assert [number_of(out) for _, out in came] == list(range(60))
    assert all(at - number_of(out) * EVERY >= max(0.0, delay - jitter) - 1e-9 for at, out in came)


def test_jitter_spreads_the_delay_around_its_middle():
    took = [at - number_of(out) for at, out in run(Impairment(delay=0.05, jitter=0.02), 500, every=1.0)]
    assert 0.030 <= min(took) < 0.032
    assert 0.068 < max(took) <= 0.070
    assert abs(sum(took) / len(took) - 0.05) < 0.002


def test_a_seed_gives_the_same_line_again():
    how = Impairment(delay=0.01, jitter=0.01, loss=0.1, duplicate=0.1, corrupt=0.1, reorder=0.1)
    assert run(how, 200, seed=5) == run(how, 200, seed=5)
    assert run(how, 200, seed=5) != run(how, 200, seed=6)


@pytest.mark.parametrize("part", [0.0, 0.05, 0.5, 1.0])
def test_loss_is_the_part_that_was_asked_for(part):
    assert abs(1 - len(run(Impairment(loss=part), 2000)) / 2000 - part) < 0.03


def test_duplicates_come_twice_and_whole():
    came = [number_of(out) for _, out in run(Impairment(duplicate=0.2), 1000)]
    assert sorted(set(came)) == list(range(1000))
    assert abs(len(came) - 1200) < 60


def test_reordering_lets_others_overtake():
    came = [number_of(out) for _, out in run(Impairment(delay=0.02, reorder=0.1, late=0.005), 1000)]
    assert sorted(came) == list(range(1000))
    overtaken = sum(earlier > later for earlier, later in pairwise(came))
    assert 60 < overtaken < 140
    assert all(abs(at - number) <= 6 for at, number in enumerate(came))


def test_corruption_flips_one_bit_behind_the_ethernet_header():
    came = run(Impairment(corrupt=1.0), 300)
    for number, (_, out) in enumerate(came):
        before = frame(number)
        flipped = int.from_bytes(out, "big") ^ int.from_bytes(before, "big")
        assert flipped.bit_count() == 1
        assert out[:ETHERNET] == before[:ETHERNET]


def test_a_hole_swallows_only_what_is_larger():
    line = Line(Impairment(mtu=1300), 1)
    line.take(frame(1, 1300 + ETHERNET), 0.0)
    line.take(frame(2, 1301 + ETHERNET), 0.0)
    assert [number_of(out) for out in line.due(0.0)] == [1]
    assert line.count.too_big == 1


def test_a_rate_spaces_frames_out():
    times = [at for at, _ in run(Impairment(rate=1e6), 20, size=1250, every=0.0)]
    assert times == pytest.approx([0.01 * (n + 1) for n in range(20)])


def test_a_line_with_a_rate_drops_what_its_queue_cannot_hold():
    came = run(Impairment(rate=1e6), 1000, size=1250, every=0.0)
    assert BACKLOG_MOST - 1250 <= 1250 * len(came) <= BACKLOG_MOST + 2 * 1250


def test_what_is_under_way_is_bounded():
    line = Line(Impairment(delay=1000.0), 1)
    for number in range(UNDER_WAY_MOST + 10):
        line.take(frame(number), 0.0)
    assert (line.count.full, len(line.due(1e6))) == (10, UNDER_WAY_MOST)


def test_a_change_is_for_frames_that_come_later():
    line = Line(Impairment(delay=1.0), 1)
    line.take(frame(1), 0.0)
    line.impairment = Impairment(delay=0.1)
    line.take(frame(2), 0.5)
    assert line.due(0.99) == []
    assert [number_of(out) for out in line.due(1.0)] == [1, 2]


@pytest.mark.parametrize("words", [{"delay": -1.0}, {"loss": 1.1}, {"corrupt": -0.1}, {"rate": -1.0}, {"mtu": -1}])
def test_an_impossible_line_is_refused(words):
    with pytest.raises(ValueError, match=next(iter(words))):
        Impairment(**words)


def test_what_happened_is_counted():
    line = Line(Impairment(loss=0.3, duplicate=0.3), 3)
    for number in range(100):
        line.take(frame(number), 0.0)
    came = len(line.due(0.0))
    assert line.count.carried == came == 100 - line.count.lost + line.count.duplicated
    assert line.count.lost > 10
    assert line.count.duplicated > 10
