"""Who loses a place when strangers are too many."""

import pytest

from ginnel.core.control import limits
from ginnel.shell.control.strangers import Strangers


def crowd(monkeypatch: pytest.MonkeyPatch, total: int, per_source: int) -> tuple[Strangers[str], list[str]]:
    monkeypatch.setattr(limits, "MAX_STRANGERS", total)
    monkeypatch.setattr(limits, "MAX_STRANGERS_PER_SOURCE", per_source)
    evicted: list[str] = []
    return Strangers(evicted.append), evicted


def test_a_source_with_too_many_loses_its_oldest(monkeypatch: pytest.MonkeyPatch) -> None:
    strangers, evicted = crowd(monkeypatch, 10, 2)
    for name in ("a1", "b1", "a2", "a3"):
        strangers.add(name, name[0])
    assert evicted == ["a1"]
    assert sorted(strangers) == ["a2", "a3", "b1"]


def test_a_full_house_makes_room_at_the_source_with_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    strangers, evicted = crowd(monkeypatch, 4, 4)
    for name in ("b1", "a1", "a2", "a3", "c1", "d1"):
        strangers.add(name, name[0])
    assert evicted == ["a1", "a2"]
    assert len(strangers) == 4


def test_who_left_or_became_a_member_takes_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    strangers, evicted = crowd(monkeypatch, 1, 1)
    strangers.add("a1", "a")
    strangers.discard("a1", "a")
    strangers.discard("a1", "a")
    strangers.add("a2", "a")
    assert (evicted, list(strangers)) == ([], ["a2"])
