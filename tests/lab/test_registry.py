import os
import select
import signal
import subprocess
import sys

import pytest

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import network
from ginnel.lab.processes import until
from ginnel.lab.registry import ROOT, kept, sweep

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]

OWNER = """
import sys
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import network
with Lab(network(a="easy")) as lab:
    lab.programs_outlive_us = OUTLIVE
    process = lab.start("a", "sleeper", ["sh", "-c", "echo ready; exec sleep 600"])
    process.wait_for_line("ready", 10)
    if KEPT:
        lab.leave_standing("some-scenario")
    sys.stdout.write(f"{lab.name} {process.popen.pid}\\n")
    sys.stdout.flush()
    sys.stdin.read()
"""


def owner(outlive: bool, kept: bool = False) -> tuple[subprocess.Popen[str], str, int]:
    """Another process with a lab of its own: the process, the lab's name, the pid of a program in it."""
    script = OWNER.replace("OUTLIVE", str(outlive)).replace("KEPT", str(kept))
    process = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    name, pid = process.stdout.readline().split()
    return process, name, int(pid)


def ends(watched: int) -> bool:
    """Whether the program behind a pidfd has ended; the machine's init may leave a zombie for a while."""
    with os.fdopen(watched, "rb", buffering=0):
        return bool(select.select([watched], [], [], 10)[0])


def end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate(timeout=10)


@pytest.mark.parametrize("outlive", [False, True])
def test_a_lab_whose_owner_was_killed_is_swept_by_the_next(outlive, traces):
    process, name, pid = owner(outlive)
    watched = os.pidfd_open(pid)
    end(process)
    assert any(name in trace for trace in traces())
    with Lab(network(a="none")):
        assert not any(name in trace for trace in traces())
    assert ends(watched)


def test_a_program_dies_with_its_labs_owner_before_anybody_sweeps():
    process, _, pid = owner(outlive=False)
    watched = os.pidfd_open(pid)
    end(process)
    assert ends(watched)
    assert sweep()


def test_a_lab_whose_owner_lives_is_not_swept():
    process, name, pid = owner(outlive=False)
    try:
        assert name not in sweep()
        os.kill(pid, 0)
    finally:
        process.communicate(timeout=10)
    assert not (ROOT / name).exists()


def test_a_lab_left_standing_is_not_swept():
    with Lab(network(a="none")) as lab:
        lab.programs_outlive_us = True
        lab.start("a", "sleeper", ["sleep", "30"])  # if this test is killed, the lab is nobody's after that time
        lab.leave_standing("some-scenario")
    assert lab.name not in sweep()
    assert kept()["some-scenario"] == lab.directory
    lab.standing = False
    lab.close()


def test_a_lab_left_standing_is_swept_once_nothing_runs_in_it():
    process, name, pid = owner(outlive=False, kept=True)
    watched = os.pidfd_open(pid)
    assert kept()["some-scenario"] == ROOT / name
    end(process)
    assert ends(watched)
    until(lambda: name in sweep() or None, 10, "the program to be gone")
    assert not (ROOT / name).exists()


def test_a_terminated_owner_takes_its_lab_down():
    argv = [sys.executable, "-c", "from ginnel.cli.main import main; main()", "lab", "matrix"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        process.stderr.readline()  # the first network is verified: a lab stands
        process.send_signal(signal.SIGTERM)
        try:
            process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM
