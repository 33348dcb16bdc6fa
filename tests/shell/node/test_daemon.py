"""The daemon as a program: what it cannot do it says in one line, and leaves nothing behind."""

import errno
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from ginnel.shell.node import local_socket
from ginnel.shell.node.state import StateFile
from ginnel.shell.node.tunnel import tun_line

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
DAEMON = "from ginnel.cli.ginneld import main; main()"


@pytest.fixture
def place() -> Iterator[Path]:
    short = Path(tempfile.mkdtemp(prefix="gn"))
    try:
        yield short
    finally:
        shutil.rmtree(short)


def start(place: Path, *before: str, state: str = "state", tun: str = "gn9") -> subprocess.CompletedProcess[str]:
    where = ["--state", str(place / state), "--socket", str(place / "s")]
    command = ["unshare", "-n", *before, sys.executable, "-c", DAEMON, *where, "--tun", tun, "--port", "0"]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_without_the_right_to_make_interfaces(place: Path) -> None:
    done = start(place, "setpriv", "--bounding-set", "-net_admin")
    assert (done.returncode, done.stderr) == (
        1,
        "ginneld: not allowed to make a network interface: start it with sudo (it needs CAP_NET_ADMIN)\n",
    )
    assert list(place.iterdir()) == []


def test_without_a_tun_device(place: Path) -> None:
    hidden = (
        "unshare",
        "-m",
        "sh",
        "-c",
        'mount -t tmpfs none /dev/net && exec setpriv --bounding-set -mknod "$@"',
        "sh",
    )
    done = start(place, *hidden)
    assert (done.returncode, done.stderr) == (
        1,
        "ginneld: there is no /dev/net/tun: run `modprobe tun`, or give the container that device\n",
    )
    assert list(place.iterdir()) == []


def test_a_state_that_was_there_before_outlives_a_failed_start(place: Path) -> None:
    kept = StateFile(place / "state")
    machine = kept.open().machine
    kept.close()
    assert start(place, "setpriv", "--bounding-set", "-net_admin").returncode == 1
    assert StateFile(place / "state").read().machine == machine


def test_an_ordinary_user_is_sent_to_sudo_and_may_ask_for_the_status(place: Path) -> None:
    place.chmod(0o755)
    (place / "state").mkdir(mode=0o700)
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    if subprocess.run([*nobody, sys.executable, "-c", "import ginnel"], check=False, capture_output=True).returncode:
        pytest.skip("an ordinary user cannot read this installation")
    done = start(place, *nobody)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "use sudo" in done.stderr
    bound = local_socket.listen(place / "run" / "s")
    try:
        assert (place / "run").stat().st_mode & 0o777 == 0o755
    finally:
        local_socket.remove(place / "run" / "s", bound)


def test_with_a_state_directory_that_cannot_be_made(place: Path) -> None:
    (place / "file").write_text("")
    done = start(place, state="file/state")
    assert done.returncode == 1
    assert done.stderr.startswith("ginneld: ")
    assert "--state" in done.stderr
    assert done.stderr.count("\n") == 1
    assert sorted(p.name for p in place.iterdir()) == ["file"]


def test_with_a_damaged_state(place: Path) -> None:
    (place / "state").mkdir(mode=0o700)
    (place / "state" / "ginneld.state").write_text("{")
    (place / "state" / "ginneld.state").chmod(0o600)
    done = start(place)
    assert done.returncode == 1
    assert "is damaged" in done.stderr
    assert (place / "state" / "ginneld.state").read_text() == "{"
    assert not (place / "s").exists()


def test_with_arguments_that_make_no_sense(place: Path) -> None:
    done = start(place, tun="a/b")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOENT, "no /dev/net/tun"),
        (errno.EPERM, "sudo"),
        (errno.EBUSY, "--tun"),
        (errno.EINVAL, "cannot be made"),
    ],
)
def test_what_a_refused_tun_device_means(number: int, words: str) -> None:
    assert words in tun_line(OSError(number, os.strerror(number)), "ginnel0")
