from dataclasses import dataclass, field

import pytest

from ginnel.lab import cell as trying
from ginnel.lab.cell import Watch
from ginnel.lab.members import Way

RELAYED, DIRECT, NOTHING = Way("relay", region="own"), Way("direct", "192.0.2.6:41641"), Way("none")


@dataclass
class Node:
    """A member whose path is what the test says, one after the other, and then the last for ever."""

    ways: list[Way]
    name: str = "somebody"
    address: str = "100.64.0.1"
    asked: list[str] = field(default_factory=list)

    def way_to(self, address: str) -> Way:
        self.asked.append(address)
        return self.ways.pop(0) if len(self.ways) > 1 else self.ways[0]


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Time passes by sleeping alone."""
    now = [100.0]
    monkeypatch.setattr(trying.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(trying.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def watch(a: list[Way], b: list[Way]) -> Watch:
    return Watch(Node(a), Node(b), started=100.0)


def test_each_end_has_its_own_time_to_direct():
    seen = watch([RELAYED, DIRECT], [RELAYED, RELAYED, RELAYED, DIRECT])
    assert seen.until_direct(within=5.0)
    assert seen.since[0] < seen.since[1] < 0.1


def test_a_path_that_is_lost_again_counts_from_its_return():
    seen = watch([DIRECT, RELAYED, RELAYED, DIRECT], [RELAYED, RELAYED, RELAYED, DIRECT])
    assert seen.until_direct(within=5.0)
    assert seen.since[0] == seen.since[1] > 0


def test_one_direct_end_is_not_enough_and_the_time_is_kept_to():
    seen = watch([DIRECT], [RELAYED])
    assert not seen.until_direct(within=5.0)
    assert seen.since == [0.0, None]
    assert 5.0 <= trying.time.monotonic() - 100.0 < 5.5


@pytest.mark.parametrize(("way", "stays"), [(RELAYED, True), (DIRECT, False), (NOTHING, False)])
def test_a_pair_stays_relayed_only_if_it_is_relayed_at_both_ends_to_the_end(way, stays):
    assert watch([RELAYED], [RELAYED, way]).stays_relayed(hold=6.0) is stays


def test_a_pair_that_becomes_direct_is_not_held_any_longer():
    assert not watch([RELAYED, DIRECT], [RELAYED]).stays_relayed(hold=6.0)
    assert trying.time.monotonic() < 101.0
