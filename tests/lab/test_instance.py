import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ginnel.lab import LabError
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import network
from ginnel.lab.processes import until
from ginnel.lab.topology import INTERNET

pytestmark = [pytest.mark.root, pytest.mark.usefixtures("leaves_nothing")]
PING = ["ping", "-n", "-c", "1", "-W", "2"]


def test_a_lab_leaves_no_namespace_link_process_or_file(traces):
    with Lab(network(a="easy", b="double-nat")) as lab:
        process = lab.start("a", "sleeper", ["sleep", "60"])
        assert any(lab.name in trace for trace in traces())
    assert process.ended() is not None


def test_a_lab_is_gone_after_an_error_inside_it():
    with pytest.raises(ZeroDivisionError), Lab(network(a="easy")):
        raise ZeroDivisionError


def test_a_lab_that_cannot_be_built_leaves_nothing(monkeypatch):
    lab = Lab(network(a="easy"))
    lab.plan.namespaces["nat-a"].rules = "table ip lab { nonsense }"
    with pytest.raises(LabError, match="nft"), lab:
        pass


def test_a_program_that_ignores_all_signals_but_one_ends_with_its_lab():
    with Lab(network(a="none")) as lab:
        process = lab.start(
            "a", "stubborn", ["sh", "-c", "trap '' TERM HUP INT; echo ready; while :; do sleep 60; done"]
        )
        process.wait_for_line("ready", 10)
    assert process.ended() is not None


def test_two_labs_stand_side_by_side():
    with Lab(network(a="easy")) as one, Lab(network(a="easy")) as other:
        assert one.addresses == other.addresses
        for lab in (one, other):
            assert "1 received" in lab.spaces["a"].run([*PING, lab.addresses["server"]])
        one.block(INTERNET, "drop")
        with pytest.raises(LabError):
            one.spaces["a"].run([*PING[:-1], "1", one.addresses["server"]])
        assert "1 received" in other.spaces["a"].run([*PING, other.addresses["server"]])
        one.unblock()
        assert "1 received" in one.spaces["a"].run([*PING, one.addresses["server"]])


def test_labs_are_built_and_taken_down_at_the_same_time():
    def build(_: int) -> str:
        with Lab(network(a="easy")) as lab:
            return lab.name

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(build, range(8)))) == 8


def test_a_host_has_its_own_run_etc_and_name():
    with Lab(network(a="none", b="none")) as lab:
        seen = lab.spaces["a"].run(["sh", "-c", "hostname; ls /run; cat /etc/resolv.conf; echo mine > /run/mine"])
        assert seen.splitlines()[:2] == ["a", "lab"]
        assert "no resolver" in seen
        assert "mine" not in lab.spaces["b"].run(["ls", "/run"])
        lab.spaces["a"].run(["sh", "-c", "echo nameserver 192.0.2.1 > /etc/resolv.conf"])
        assert (lab.directory / "a/etc/resolv.conf").read_text() == "nameserver 192.0.2.1\n"
    assert os.uname().nodename != "a"
    assert not Path("/run/mine").exists()


def test_a_resolver_file_can_be_replaced_by_renaming():
    """As a daemon writes it; a bind mount of the single file would refuse."""
    with Lab(network(a="none")) as lab:
        lab.spaces["a"].run(["sh", "-c", "echo new > /etc/new && mv /etc/new /etc/resolv.conf"])
        assert lab.spaces["a"].run(["cat", "/etc/resolv.conf"]) == "new\n"


def test_a_lab_is_not_connected_to_the_machine():
    with Lab(network(a="none")) as lab, socket.create_server(("127.0.0.1", 0)) as listener:
        inner = lab.spaces["a"].socket(socket.SOCK_STREAM, ("0.0.0.0", 0))
        with inner:
            assert inner.connect_ex(listener.getsockname()) != 0


def test_waiting_says_what_a_program_said_last_when_it_ends_too_early():
    with Lab(network(a="none")) as lab:
        process = lab.start("a", "short", ["sh", "-c", "echo no luck >&2; exit 3"])
        with pytest.raises(LabError, match=r"short ended with status 3: no luck"):
            until(lambda: None, 10, "nothing", process)


def test_what_programs_said_can_be_kept(tmp_path):
    with Lab(network(a="none")) as lab:
        lab.start("a", "words", ["echo", "hello"]).wait(10)
        lab.copy_logs(tmp_path)
        lab.copy_logs(tmp_path)
    assert (tmp_path / "a/words.out").read_text() == "hello\n"
