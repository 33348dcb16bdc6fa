"""What a node's NetInfo says of the relays that it reaches."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ginnel.core.control.reach import ABSENT_FOR, MAX_REGIONS, Heard, NodeReach, heard_of

THREE = frozenset({1, 2, 3})
MANY = frozenset(range(1, 26))


def netinfo(latency: object = None, **more: object) -> dict[str, Any]:
    return {"NetInfo": {"DERPLatency": latency, **more}}


def test_latencies_of_both_families_are_one_region() -> None:
    heard = heard_of(netinfo({"1-v4": 0.02, "1-v6": 0.01, "2-v4": 0.1}, PreferredDERP=1))
    assert heard == Heard({1: 0.01, 2: 0.1}, None, 1)


def test_our_own_word_is_read_and_absent_is_not_empty() -> None:
    assert heard_of(netinfo({}, GinnelUnreached=[901, 902])) == Heard({}, frozenset({901, 902}))
    assert heard_of(netinfo({}, GinnelUnreached=[])) == Heard({}, frozenset())
    assert heard_of(netinfo({})) == Heard({}, None)
    assert heard_of({"OS": "linux"}) is None
    assert heard_of(None) is None


@pytest.mark.parametrize(
    "latency",
    [{"x": 1}, {"1-v5": 1}, {"0-v4": 1}, {"70000-v4": 1}, {"1-v4": "fast"}, {"1-v4": -1}, {"1-v4": True}, {"1-v4": 1e9},
     {"1-v4": float("nan")}, {"1-v4": 10**400}, [1], "1-v4", 5, {"1-v4\n": 1}, {f"{n}-v4": 1 for n in range(5000)}],
)  # fmt: skip
def test_nonsense_is_no_measurement(latency: object) -> None:
    heard = heard_of(netinfo(latency, GinnelUnreached="all", PreferredDERP="home"))
    assert heard == Heard({}, None)


def test_what_one_node_may_say_is_bounded() -> None:
    heard = heard_of(netinfo({f"{n}-v4": 0.1 for n in range(1, 1000)}, GinnelUnreached=list(range(1, 5000))))
    assert heard is not None
    assert len(heard.latency) == MAX_REGIONS
    assert heard.unreached is not None
    assert len(heard.unreached) == MAX_REGIONS


JSON = st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8), lambda c: st.lists(c) | st.dictionaries(st.text(max_size=14), c))  # noqa: E501  # fmt: skip


@given(JSON, JSON, JSON)
def test_any_json_is_read_without_an_error(latency: object, unreached: object, home: object) -> None:
    heard_of(netinfo(latency, GinnelUnreached=unreached, PreferredDERP=home))
    heard_of({"NetInfo": latency})


def told(reach: NodeReach, latency: dict[int, float], regions: frozenset[int] = THREE, wall: float = 0.0) -> bool:
    return reach.told(Heard(latency), regions, wall)


def test_its_own_word_counts_at_once_and_is_taken_back_at_once() -> None:
    reach = NodeReach()
    assert reach.told(Heard({1: 0.1}, frozenset({2, 99})), THREE, 100.0)
    assert reach.lost == {2: 100.0}, "what is not in the map is left out"
    assert not reach.told(Heard({1: 0.1}, frozenset({2})), THREE, 200.0)
    assert reach.lost == {2: 100.0}, "since then, not since now"
    assert reach.told(Heard({1: 0.1}, frozenset()), THREE, 300.0)
    assert reach.lost == {}


def test_a_region_has_to_be_missing_from_several_measurements() -> None:
    reach = NodeReach()
    for count in range(ABSENT_FOR - 1):
        assert not told(reach, {1: 0.010 + count / 1000, 2: 0.02}, wall=10.0 + count)
    assert told(reach, {1: 0.05, 2: 0.02}, wall=20.0)
    assert reach.lost == {3: 10.0}


def test_the_same_numbers_again_are_the_same_measurement() -> None:
    reach = NodeReach()
    for _ in range(10):
        assert not told(reach, {1: 0.01, 2: 0.02})


def test_a_region_that_answers_again_is_lost_no_more() -> None:
    reach = NodeReach()
    for count in range(ABSENT_FOR):
        told(reach, {1: 0.010 + count / 1000, 2: 0.02})
    assert told(reach, {1: 0.01, 2: 0.02, 3: 0.03})
    assert reach.lost == {}


def test_a_short_check_that_measured_the_nearest_says_nothing_of_the_others() -> None:
    reach = NodeReach()
    told(reach, {n: n / 100 for n in MANY}, MANY)
    for count in range(10):
        assert not told(reach, {1: 0.01, 2: 0.02, 3: 0.0301 + count / 10000}, MANY)


def test_a_full_check_that_stopped_before_far_regions_answered_says_nothing_of_them() -> None:
    reach = NodeReach()
    for count in range(10):
        assert not told(reach, {1: 0.01, 2: 0.02, 3: 0.03 + count / 1000, 4: 0.05}, MANY)


def test_a_near_region_that_is_missing_while_farther_ones_answer_is_suspected() -> None:
    reach = NodeReach()
    told(reach, {n: n / 100 for n in MANY}, MANY)
    for count in range(ABSENT_FOR):
        told(reach, {n: n / 100 + count / 10000 for n in MANY - {5}}, MANY)
    assert list(reach.lost) == [5]


def test_what_was_near_to_another_home_is_not_expected_to_be_near_now() -> None:
    reach = NodeReach()
    reach.told(Heard({n: n / 100 for n in MANY}, None, 1), MANY, 0.0)
    for count in range(10):
        reach.told(Heard({20: 0.01, 21: 0.02, 22: 0.2 + count / 1000}, None, 20), MANY, 1.0)
    assert reach.lost == {}


def test_udp_that_is_blocked_altogether_is_no_sign_of_a_partition() -> None:
    reach = NodeReach()
    told(reach, {1: 0.01, 2: 0.02, 3: 0.03})
    for _ in range(10):
        assert not told(reach, {})
