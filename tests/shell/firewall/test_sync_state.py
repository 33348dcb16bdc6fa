"""What outlives the process."""

import time
from ipaddress import ip_address
from pathlib import Path

import pytest

import ginnel.shell.firewall.sync_state as module
from ginnel.core.firewall.sync_words import Question, Saved, SavedLeaving
from ginnel.shell.firewall.sync_state import StateError, Store

V4, V6 = ip_address("203.0.113.5"), ip_address("2001:db8::5")
SAVED = Saved(
    7,
    ((Question("a.example.com", 4), frozenset((V4,)), 60.0), (Question("", 0), frozenset((V6,)), 300.0)),
    (SavedLeaving(V6, 12.5, Question("a.example.com", 6), "it left"),),
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "state", "nftables", "inet/filter/a")


def test_what_is_saved_is_loaded(store: Store) -> None:
    assert store.load() == (Saved(), 0.0)
    store.save(SAVED)
    saved, elapsed = store.load()
    assert saved == SAVED
    assert 0 <= elapsed < 60


def test_it_is_nobody_elses(store: Store) -> None:
    store.save(SAVED)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_draft_that_a_killed_process_left_is_replaced(store: Store) -> None:
    store.save(SAVED)
    store.path.with_suffix(".new").write_text("{half")
    assert store.load()[0] == SAVED
    store.save(Saved(8))
    assert store.load()[0] == Saved(8)


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", '{"version":2,"at":0,"serial":0,"vouched":[],"leaving":[]}',
     '{"version":1,"at":0,"serial":0,"vouched":[{"name":"a","family":4,"ttl":1,"addresses":["x"]}],"leaving":[]}'],
)  # fmt: skip
def test_a_damaged_file_is_told_and_is_no_state(store: Store, text: str) -> None:
    store.path.write_text(text)
    with pytest.raises(StateError, match="cannot be read"):
        store.load()


def test_a_clock_that_was_set_back_makes_no_time_negative(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(SAVED)
    before = time.time()
    monkeypatch.setattr(module.time, "time", lambda: before - 1e6)
    assert store.load()[1] == 0.0


def test_one_process_keeps_a_set(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOCK_PATIENCE", 0.1)
    with pytest.raises(StateError, match="already"):
        Store(tmp_path / "state", "nftables", "inet/filter/a")
    Store(tmp_path / "state", "nftables", "inet/filter/b").close()
    store.close()
    Store(tmp_path / "state", "nftables", "inet/filter/a").close()


def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    path = module.state_file(tmp_path, "ipset", "a").with_suffix(".lock")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError):
        Store(tmp_path, "ipset", "a")
    assert not (tmp_path / "elsewhere").exists()


def test_a_directory_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="--state"):
        Store(tmp_path / "file", "ipset", "a")
