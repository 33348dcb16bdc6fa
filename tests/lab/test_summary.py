import pytest
from msgspec.structs import replace

from ginnel.lab.report import Move, Outcome, Pair
from ginnel.lab.summary import grid_of, holds, summary, tally


def outcome(
    name: str, seconds: float | None, want: str = "punch", found: str = "punch", *, passed: bool = True
) -> Outcome:
    path = "relay" if seconds is None else "direct"
    technique = found if seconds is not None else "relay"
    pair = Pair(
        "a", "b", path, path, "", "", 0.01, seconds, technique=technique, expected_technique=want, within=5.0
    )  # fmt: skip
    return Outcome(name, seconds is not None or want == "relay", 1.0, [pair], [])


def test_what_goes_by_chance_holds_if_it_goes_nine_times_in_ten():
    good, bad = (
        outcome("easy/hard-random", 3.0, "birthday"),
        outcome("easy/hard-random", None, "birthday", passed=False),
    )
    assert holds([good] * 9 + [bad])
    assert not holds([good] * 8 + [bad] * 2)


def test_what_goes_always_may_not_fail_once():
    assert holds([outcome("easy/easy", 0.1)] * 10)
    assert not holds([*[outcome("easy/easy", 0.1)] * 9, outcome("easy/easy#10", None)])


def test_a_pair_that_failed_before_anything_was_measured_does_not_hold():
    assert not holds([Outcome("easy/easy", False, 0.0, [], [])])


def test_all_runs_of_a_pair_are_one_tally():
    found = tally([outcome("easy/easy", 0.1), outcome("easy/easy#2", 0.3), outcome("easy/none", 0.2)])
    assert {name: one.runs for name, one in found.items()} == {"easy/easy": 2, "easy/none": 1}


def test_the_measured_grid_has_the_technique_and_the_median_and_marks_what_does_not_hold():
    found = [
        outcome("easy/easy", 0.25),
        outcome("easy/pcp", None, "mapping"),
        outcome("pcp/easy", 0.5, "mapping", "mapping"),
        outcome("pcp/pcp", 0.125, "mapping", "mapping"),
    ]
    assert grid_of(found).splitlines() == [
        "| speaks first \\ answers | easy | pcp |",
        "| --- | --- | --- |",
        "| easy | P 0.25 | !r |",
        "| pcp | M 0.5 | M 0.12 |",
    ]


@pytest.mark.parametrize("count", [1, 2, 40])
def test_figures_are_told_by_technique(count):
    lines = summary([outcome(f"easy/easy#{number}", number / 100) for number in range(count)])
    assert lines[0].startswith(f"punch        direct {count} of {count}: p50 ")
    assert any(line.startswith("ordinary") for line in lines)


def test_each_pair_of_clients_has_a_grid_of_its_own():
    found = [outcome("easy/easy:official", 0.5), outcome("easy:official/easy", 0.25)]
    assert grid_of(found).split("\n\n") == [
        "| speaks first \\ answers | easy:official |\n| --- | --- |\n| easy | P 0.5 |",
        "| speaks first \\ answers | easy |\n| --- | --- |\n| easy:official | P 0.25 |\n",
    ]


def test_a_pair_that_was_left_out_leaves_a_gap_in_the_grid():
    found = [outcome(pair, 0.5) for pair in ("easy/easy", "easy/easy-bare", "easy-bare/easy")]
    assert grid_of(found).splitlines()[-1] == "| easy-bare | P 0.5 | - |"


def moving(name: str, lost: int, still: float, *, lives: bool = True) -> Outcome:
    one = outcome(name, 0.1)
    cost = Move(lives, "relay", still, still, 100, lost, lost * 172, still)
    return replace(one, pairs=[replace(one.pairs[0], to_relay=cost)])


def test_what_moves_cost_is_summed_and_the_worst_named():
    found = [moving("easy/easy", 5, 1.0), moving("easy/none", 70, 0.5), moving("none/none", 0, 2.5, lives=False)]
    assert summary(found)[-3:] == [
        "to relay     2 of 3 streams live: p50 1.000 s, p95 2.350 s, max 2.500 s",
        "             lost 75 of 300 datagrams, 12900 bytes; worst 70 in easy/none",
        "             silence at most 2.50 s in none/none, stream still 2.50 s in none/none",
    ]


def test_where_nothing_moved_nothing_is_told_of_moves():
    assert not any(line.startswith(("to direct", "to relay")) for line in summary([outcome("easy/easy", 0.1)]))


def test_the_median_of_two_runs_lies_between_them():
    told = summary([outcome("easy/easy", 0.1), outcome("easy/easy#2", 0.2)])
    assert told[0] == "punch        direct 2 of 2: p50 0.150 s, p95 0.195 s, max 0.200 s"
