"""What outlives the process."""

import errno
from ipaddress import ip_address
from pathlib import Path

import pytest

import ginnel.shell.firewall.sync_state as module
from ginnel.core.firewall.sync_words import Question, Saved, SavedLeaving
from ginnel.shell.firewall.sync_state import Loaded, StateError, Store

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
    assert store.load() == Loaded()
    store.save(SAVED)
    found = store.load()
    assert (found.saved, found.problem) == (SAVED, "")
    assert 0 <= found.elapsed < 60


def test_it_is_nobody_elses(store: Store) -> None:
    store.save(SAVED)
    assert store.path.stat().st_mode & 0o777 == 0o600
    assert store.path.parent.stat().st_mode & 0o777 == 0o700


def test_a_draft_that_a_killed_process_left_is_replaced(store: Store) -> None:
    store.save(SAVED)
    store.path.with_suffix(".new").write_text("{half")
    assert store.load().saved == SAVED
    store.save(Saved(8))
    assert store.load().saved == Saved(8)


def test_a_state_that_is_damaged_gives_way_to_the_one_before_it(store: Store) -> None:
    store.save(SAVED)
    store.save(Saved(8))
    store.path.write_bytes(store.path.read_bytes()[:-5])
    found = store.load()
    assert found.saved == SAVED
    assert "cannot be read" in found.problem
    store.save(Saved(9))
    assert (store.load().saved, store.load().problem) == (Saved(9), "")
    store.path.write_bytes(b"")
    assert store.load().saved == SAVED, "a damaged one never takes the place of a good one"


def test_a_kill_between_the_two_renames_costs_one_state_at_the_most(store: Store) -> None:
    store.save(SAVED)
    store.path.rename(store.path.with_suffix(".old"))
    assert store.load().saved == SAVED


def test_the_very_first_state_has_a_copy_too(store: Store) -> None:
    store.save(SAVED)
    store.path.write_bytes(b"")
    assert store.load().saved == SAVED


def test_a_single_damaged_file_is_told_and_is_no_state(store: Store) -> None:
    store.path.write_text("{")
    found = store.load()
    assert found.saved == Saved()
    assert "going on without it" in found.problem


def test_a_full_disk_is_told_and_the_state_before_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.save(SAVED)

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", full)
    with pytest.raises(StateError, match="No space left"):
        store.save(Saved(8))
    assert store.load().saved == SAVED


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


def test_a_serial_is_of_its_feed_s_key_alone(tmp_path: Path) -> None:
    """Whoever follows another mesh from now on must not wait until that one's serial is higher."""

    def follow(key: str) -> Store:
        return Store(tmp_path, "ipset", "a", key)

    first = follow("feedkey:aa")
    first.load()
    first.save(Saved(serial=1_800_000_000))
    first.close()
    by_map = follow("")
    assert by_map.load().saved.serial == 1_800_000_000
    by_map.save(by_map.load().saved)
    by_map.close()
    again = follow("feedkey:aa")
    assert again.load().saved.serial == 1_800_000_000, "nor is it forgotten while the map is followed"
    again.close()
    other = follow("feedkey:bb")
    assert other.load().saved.serial == 0
    other.save(Saved(serial=7))
    assert other.load().saved.serial == 7
    other.close()
    assert module.load(module.state_file(tmp_path, "ipset", "a"), "feedkey:aa").saved.serial == 0
