from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.node.portmap.epoch import Epoch
from ginnel.words import Instant


def test_the_first_age_says_nothing() -> None:
    assert not Epoch().heard(0, Instant(1e6))


def test_a_younger_table_is_a_lost_one() -> None:
    epoch = Epoch()
    epoch.heard(5000, Instant(0.0))
    assert epoch.heard(3, Instant(60.0))
    assert not epoch.heard(63, Instant(120.0))


@given(st.integers(0, 1 << 31), st.floats(0, 1e6), st.floats(7 / 8, 2))
def test_a_clock_that_runs_an_eighth_slow_or_fast_is_no_loss(age: int, waited: float, rate: float) -> None:
    epoch = Epoch()
    epoch.heard(age, Instant(0.0))
    assert not epoch.heard(int(age + waited * rate), Instant(waited))
