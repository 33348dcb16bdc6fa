import os
import stat

import pytest

from ginnel.shell import durable


@pytest.fixture
def path(tmp_path):
    return tmp_path / "state.json"


def mode(path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_what_is_replaced_is_readable_by_its_owner_alone_whatever_the_umask(path):
    before = os.umask(0o777)
    try:
        durable.replace(path, b"one")
        durable.replace(path, b"two")
    finally:
        os.umask(before)
    assert (path.read_bytes(), mode(path)) == (b"two", 0o600)
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_draft_that_a_crash_left_does_not_stand_in_the_way(path):
    durable.draft(path, b"half")
    durable.replace(path, b"whole")
    assert path.read_bytes() == b"whole"


def test_a_crash_before_the_change_leaves_the_old_file(path, monkeypatch):
    durable.replace(path, b"old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(OSError, match="No space"):
        durable.replace(path, b"new")
    assert path.read_bytes() == b"old"


def test_nothing_is_written_over_or_through_a_link(path, tmp_path):
    other = tmp_path / "other"
    path.symlink_to(other)
    with pytest.raises(FileExistsError):
        durable.create(path, b"key")
    draft = path.with_name(path.name + ".new")
    draft.symlink_to(other)
    durable.replace(path, b"key")
    assert not other.exists()
    assert not path.is_symlink()
