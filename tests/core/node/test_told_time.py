from ginnel.core.node.told_time import ToldTime
from ginnel.words import WallTime

NOON = 1_800_000_000.0


def test_until_a_map_tells_nothing_is_known() -> None:
    told = ToldTime()
    told.told(None, 5.0)
    assert told.ahead(WallTime(NOON), 5.0) is None


def test_a_clock_that_is_set_after_the_map_is_seen_to_be_wrong() -> None:
    told = ToldTime()
    told.told(WallTime(NOON), 1000.0)
    assert told.ahead(WallTime(NOON + 60.0), 1060.0) == 0.0
    assert told.ahead(WallTime(NOON + 60.0 + 86400.0), 1060.0) == 86400.0


def test_frames_without_a_time_change_nothing_and_a_new_one_counts() -> None:
    told = ToldTime()
    told.told(WallTime(NOON), 1000.0)
    told.told(None, 2000.0)
    assert told.ahead(WallTime(NOON - 30.0), 1000.0) == -30.0
    told.told(WallTime(NOON + 2.0), 1000.0)
    assert told.ahead(WallTime(NOON), 1000.0) == -2.0
