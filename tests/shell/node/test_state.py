import json
import os
import stat
from pathlib import Path

import pytest

from ginnel.core.node.path_policy import PathPolicy
from ginnel.shell.node.state import FILE, Prefs, State, StateError, StateFile
from ginnel.words import MachinePrivate, NodePrivate

STATE = State(MachinePrivate(bytes(range(32))), NodePrivate(bytes(range(32, 64))), "alice@", Prefs(want_running=True))


def opened(directory: Path) -> State:
    """As a daemon that starts and ends."""
    file = StateFile(directory)
    try:
        return file.open()
    finally:
        file.close()


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    opened(tmp_path / "s")
    StateFile(tmp_path / "s").write(STATE)
    assert opened(tmp_path / "s") == STATE


def test_the_policies_of_paths_are_remembered(tmp_path: Path) -> None:
    prefs = Prefs(path_policy=PathPolicy.DIRECT, path_policies={"n7": PathPolicy.RELAY})
    opened(tmp_path / "s")
    StateFile(tmp_path / "s").write(State(STATE.machine, prefs=prefs))
    policies = opened(tmp_path / "s").prefs.paths()
    assert (policies.of("n7"), policies.of("n8")) == (PathPolicy.RELAY, PathPolicy.DIRECT)


def test_a_first_start_draws_a_machine_key_and_keeps_it(tmp_path: Path) -> None:
    first = opened(tmp_path / "s")
    assert first.node is None
    assert opened(tmp_path / "s") == first


def test_directory_and_file_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        opened(tmp_path / "s")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "s").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "s" / FILE).stat().st_mode) == 0o600


def test_every_truncation_is_refused_and_the_file_left_as_it_is(tmp_path: Path) -> None:
    file = StateFile(tmp_path)
    file.open()
    file.write(STATE)
    whole = (tmp_path / FILE).read_bytes()
    for length in range(len(whole.rstrip())):
        (tmp_path / FILE).write_bytes(whole[:length])
        with pytest.raises(StateError, match="damaged"):
            file.open()
        assert (tmp_path / FILE).read_bytes() == whole[:length]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda s: s | {"Version": 2},
        lambda s: s | {"MachineKey": "privkey:00"},
        lambda s: s | {"Other": 1},
        lambda s: s | {"Prefs": s["Prefs"] | {"ServerKey": "x"}},
        lambda s: [s],
    ],
)
def test_a_changed_state_is_refused(tmp_path: Path, spoil) -> None:
    file = StateFile(tmp_path)
    file.open()
    file.write(STATE)
    (tmp_path / FILE).write_text(json.dumps(spoil(json.loads((tmp_path / FILE).read_text()))))
    with pytest.raises(StateError, match="damaged"):
        file.open()


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o700)
    (tmp_path / "elsewhere").write_text("{}")
    (tmp_path / "s" / FILE).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StateError, match="plain file"):
        opened(tmp_path / "s")


def test_a_fifo_does_not_hang_the_daemon(tmp_path: Path) -> None:
    (tmp_path / "s").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "s" / FILE, 0o600)
    with pytest.raises(StateError, match="plain file"):
        opened(tmp_path / "s")


def test_a_second_name_of_the_file_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "s")
    os.link(tmp_path / "s" / FILE, tmp_path / "other")
    with pytest.raises(StateError, match="plain file"):
        opened(tmp_path / "s")


def test_a_state_that_others_could_read_is_refused(tmp_path: Path) -> None:
    opened(tmp_path / "s")
    (tmp_path / "s" / FILE).chmod(0o640)
    with pytest.raises(StateError, match="read by others"):
        opened(tmp_path / "s")


def test_a_half_written_file_of_a_crash_does_no_harm(tmp_path: Path) -> None:
    file = StateFile(tmp_path)
    state = file.open()
    (tmp_path / f"{FILE}.new").write_bytes(b"{")
    assert file.open() == state
    file.write(STATE)
    assert file.open() == STATE


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="--state"):
        StateFile(tmp_path / "file" / "s").open()


def test_no_repr_holds_a_key() -> None:
    assert STATE.machine.raw.hex() not in repr(STATE)
    assert "01020304" not in repr(STATE)


def test_two_daemons_do_not_share_a_directory(tmp_path: Path) -> None:
    first = StateFile(tmp_path)
    first.open()
    with pytest.raises(StateError, match="another ginneld"):
        StateFile(tmp_path).open()
    first.close()
    opened(tmp_path)


def test_reading_makes_nothing(tmp_path: Path) -> None:
    assert StateFile(tmp_path / "s").read().node is None
    assert not (tmp_path / "s").exists()
