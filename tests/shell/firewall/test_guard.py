"""The guard of `firewall open`: when it takes rules back, and when it leaves them."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ginnel.core.firewall.changes import NftAccept, Record, command
from ginnel.lab.namespace import Inside, enter_network
from ginnel.lab.namespace import run as in_machine
from ginnel.shell.firewall import undo_record
from ginnel.shell.firewall.guard import DONE, EVERY, LOST, WATCH, Lookout, Watch, Way, watch

BOTH = frozenset(Way)
CHANGE = NftAccept(41641, "inet", "t", "c", 0, "ginnel: tunnel port 41641")


class Clock:
    """Time passes by waiting alone."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def record(tmp_path: Path) -> Path:
    return undo_record.create(tmp_path / "state", Record(41641, "2026-01-01T00:00:00+00:00", ()))


def guarded(record: Path, healthy: Callable[[float], bool], word: bytes = DONE) -> tuple[str, float]:
    """(why it took back, after how long)."""
    clock = Clock()

    def ways() -> frozenset[Way]:
        return BOTH if healthy(clock.now - 1000.0) else frozenset({Way.STREAM})

    why = watch(record, Watch(BOTH if healthy(0) else frozenset(), ways, lambda: word, clock, clock.wait))
    return why, clock.now - 1000.0


def test_rules_stay_where_the_connection_lasts(record: Path) -> None:
    assert guarded(record, lambda _: True) == ("", WATCH)
    assert undo_record.read(record) is not None


def test_rules_are_taken_back_when_the_connection_is_lost(record: Path) -> None:
    why, after = guarded(record, lambda at: at < 20)
    assert "lost" in why
    assert 20 + LOST - EVERY <= after <= 20 + LOST + EVERY
    kept = undo_record.read(record)
    assert kept is not None
    assert kept.rolled_back == why


def test_a_loss_of_a_moment_is_forgiven(record: Path) -> None:
    assert guarded(record, lambda at: not 10 <= at < 10 + LOST - EVERY)[0] == ""


def test_a_connection_that_was_down_before_is_not_the_rules_fault(record: Path) -> None:
    assert guarded(record, lambda _: False) == ("", 0.0)
    assert undo_record.read(record) is not None


def test_a_command_that_dies_without_a_word_is_undone(record: Path) -> None:
    why, after = guarded(record, lambda _: True, word=b"")
    assert why
    assert after == 0.0
    assert not record.exists()


def test_it_ends_when_the_port_is_closed_meanwhile(record: Path) -> None:
    def closed_at_ten(at: float) -> bool:
        if at >= 10:
            record.unlink(missing_ok=True)
        return True

    assert guarded(record, closed_at_ten) == ("", 11.0)


@pytest.fixture
def inside() -> Iterator[Inside]:
    name = f"gv{os.getpid()}"
    in_machine(["ip", "netns", "add", name])
    made = Inside(name, lambda: enter_network(name))
    yield made
    made.close()
    in_machine(["ip", "netns", "del", name])


@pytest.mark.root
def test_a_real_rule_goes_with_the_connection(inside: Inside, tmp_path: Path) -> None:
    inside.run(["nft", "add", "table", "inet", "t"])
    inside.run(["nft", "add", "chain", "inet", "t", "c", "{ type filter hook input priority 0; policy drop; }"])
    before = inside.run(["nft", "list", "ruleset"])
    record = undo_record.create(tmp_path / "state", Record(41641, "", (CHANGE,)))
    inside.run(command(CHANGE))
    assert "41641" in inside.run(["nft", "list", "ruleset"])
    why, _ = inside.call(guarded, record, lambda at: at < 5)
    assert why
    assert inside.run(["nft", "list", "ruleset"]) == before


def answering(path: Path, *answers: object) -> threading.Thread:
    """A daemon that gives each answer once, and is gone."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen()

    def serve() -> None:
        with listener:
            for answer in answers:
                opened, _ = listener.accept()
                with opened:
                    opened.recv(65536)
                    opened.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + json.dumps(answer).encode())

    thread = threading.Thread(target=serve)
    thread.start()
    return thread


@pytest.fixture
def server() -> Iterator[tuple[str, int]]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()


def control(place: tuple[str, int], *, connected: object = True) -> dict[str, object]:
    return {"Control": {"Connected": connected, "Address": place[0], "Port": place[1]}}


def test_the_stream_and_a_new_connection_are_looked_at_each_by_itself(tmp_path: Path, server: tuple[str, int]) -> None:
    nobody = ("127.0.0.1", 1)
    thread = answering(
        tmp_path / "d.sock",
        control(server),
        control(server, connected=False),
        control(nobody),
        control(nobody, connected=1),
    )
    lookout = Lookout(str(tmp_path / "d.sock"))
    assert [lookout.ways() for _ in range(4)] == [BOTH, {Way.NEW_CONNECTION}, {Way.STREAM}, set()]
    thread.join()


@pytest.mark.parametrize(
    "answer", [{}, [], {"Control": 5}, {"Control": {"Connected": "yes", "Address": 5}}, {"Health": []}]
)
def test_what_a_daemon_of_another_version_says_is_no_connection(tmp_path: Path, answer: object) -> None:
    thread = answering(tmp_path / "d.sock", answer)
    assert Lookout(str(tmp_path / "d.sock")).ways() == set()
    thread.join()


def test_without_a_daemon_nothing_stands_that_could_be_lost(tmp_path: Path) -> None:
    assert Lookout(str(tmp_path / "nobody.sock")).ways() == set()


def test_a_daemon_that_is_restarted_is_not_the_rules_fault(tmp_path: Path, server: tuple[str, int]) -> None:
    thread = answering(tmp_path / "d.sock", control(server))
    lookout = Lookout(str(tmp_path / "d.sock"))
    assert lookout.ways() == BOTH
    thread.join()
    assert lookout.ways() == BOTH
