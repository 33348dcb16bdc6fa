import signal
import subprocess
import sys

import pytest

from ginnel.lab import LabError, standing
from ginnel.lab.processes import Process
from ginnel.lab.registry import kept, sweep

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
GINNEL = [sys.executable, "-c", "from ginnel.cli.main import main; main()"]


class Sleepers:
    """In the place of the mesh: a program on each host that ends by nobody's doing but the lab's."""

    def __init__(self, lab, scenario, tell):
        self.lab = lab

    def start(self):
        STARTED[:] = [self.lab.start(host, "sleeper", ["sleep", "600"]) for host in self.lab.host_names()]


STARTED: list[Process] = []


@pytest.fixture
def stands(monkeypatch):
    monkeypatch.setattr(standing, "Mesh", Sleepers)
    yield standing.leave("flat", lambda line: None)
    if "flat" in kept():
        standing.take_down("flat")
    for process in STARTED:
        process.wait(10)


def within(host: str, *command: str) -> subprocess.CompletedProcess[str]:
    argv = [*GINNEL, "lab", "exec", "flat", host, "--", *command]
    return subprocess.run(argv, check=False, capture_output=True, text=True, timeout=20)


def test_a_standing_lab_can_be_walked_into(stands):
    assert stands == ["server", "alice", "bob"]
    seen = within("alice", "sh", "-c", "hostname; ls /run; ping -n -c 1 -W 2 203.0.113.10")
    assert seen.stdout.splitlines()[:2] == ["alice", "lab"]
    assert "1 received" in seen.stdout
    assert within("internet", "ip", "-o", "link", "show", "core").returncode == 0
    assert within("alice", "sh", "-c", "exit 7").returncode == 7


def test_its_programs_outlive_the_command_that_started_them_and_end_with_it(stands):
    assert sweep() == []
    assert [process.ended() for process in STARTED] == [None] * 3
    standing.take_down("flat")
    assert [process.wait(10) for process in STARTED] == [-signal.SIGKILL] * 3
    assert "flat" not in kept()


def test_it_stands_once(stands):
    with pytest.raises(LabError, match="flat stands already; take it down first"):
        standing.leave("flat", lambda line: None)


@pytest.mark.parametrize(
    ("host", "command", "says"),
    [
        ("carol", "id", "flat has no host carol; there are alice, bob, edge0, edge1, internet, observer, server"),
        ("alice", "nothing-of-that-name", "cannot run"),
    ],
)
def test_a_wrong_host_or_command_is_one_line(stands, host, command, says):
    done = within(host, command)
    assert done.returncode == 1
    assert says in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_lab_that_does_not_come_up_does_not_stand(monkeypatch):
    class Broken(Sleepers):
        def start(self):
            super().start()
            raise LabError("no server today")

    monkeypatch.setattr(standing, "Mesh", Broken)
    with pytest.raises(LabError, match="no server today"):
        standing.leave("flat", lambda line: None)
    assert "flat" not in kept()
