from collections import deque
from dataclasses import dataclass, field

import pytest

from ginnel.lab import LabError, moves
from ginnel.lab.datagrams import SIZE, OneWay
from ginnel.lab.members import Way
from ginnel.lab.moves import Moving, told


@dataclass
class Node:
    name: str
    path: str = "relay"
    address: str = "100.64.0.1"

    def way_to(self, address: str) -> Way:
        return Way(self.path)


@dataclass
class Datagrams:
    ways: tuple[OneWay, OneWay]


@dataclass
class Stream:
    """carries: whether what it is given afterwards arrives whole."""

    carries: bool = True
    sent: int = 10
    received: int = 11
    broken: str = ""
    first_byte_at: float = 100.0
    arrivals: deque[float] = field(default_factory=deque)

    def carry(self, payload: bytes, limit: float) -> float | None:
        return 0.1 if self.carries else None


@dataclass
class Faults:
    done: list[str] = field(default_factory=list)
    fails: bool = False

    def part(self, a: str, b: str) -> None:
        self.done.append(f"part {a} {b}")
        if self.fails:
            raise LabError("no nft")

    def rejoin(self, a: str, b: str) -> None:
        self.done.append(f"rejoin {a} {b}")


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """Time passes by sleeping alone; what does not happen at once does not happen."""
    now = [101.0]
    monkeypatch.setattr(moves.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(moves.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    monkeypatch.setattr(moves, "MOVE_LIMIT", 0.0)
    return now


def way(*flights: tuple[float, float]) -> OneWay:
    return OneWay([at for at, _ in flights], [there for _, there in flights])


def moving(stream: Stream, there: OneWay, back: OneWay, faults: Faults | None = None, path: str = "relay") -> Moving:
    nodes = Node("a", path.partition("/")[0]), Node("b", path.rpartition("/")[2])
    return Moving(nodes, stream, Datagrams((there, back)), faults or Faults())  # type: ignore[arg-type]


def test_both_ways_are_counted_from_the_first_byte_on_without_what_may_be_under_way():
    there = way((99.0, 0.0), (100.1, 100.2), (100.2, 0.0), (100.3, 100.4), (101.3, 0.0))
    back = way((100.1, 0.0), (100.2, 100.3), (100.3, 0.0))
    stream = Stream(arrivals=deque([100.0, 100.2, 101.1]))
    move = moving(stream, there, back, path="direct").to_direct(0.4)
    assert (move.datagrams, move.datagrams_lost, move.bytes_lost) == (6, 3, 3 * SIZE)
    assert (move.stream_lives, move.seconds, move.stream_still, move.silence) == (True, 0.4, 0.9, 1.2)


def test_the_relay_carries_again_when_both_ways_do():
    there, back = way((100.9, 0.0), (101.0, 0.0), (101.2, 102.0)), way((101.1, 101.5))
    move = moving(Stream(), there, back).to_relay()
    assert (move.seconds, move.datagrams_lost, move.path) == (1.0, 2, "relay")


def test_one_way_alone_is_no_way():
    move = moving(Stream(), way((101.1, 101.5)), way((101.1, 0.0))).to_relay()
    assert move.seconds is None
    assert told(move).startswith("relay never, 1 of 2 datagrams (172 bytes) lost")


@pytest.mark.parametrize("stream", [Stream(received=10), Stream(broken="reset"), Stream(carries=False)], ids=str)
def test_a_stream_that_breaks_stands_still_or_loses_something_is_dead(stream):
    assert not moving(stream, way((101.1, 101.5)), way((101.1, 101.5))).to_relay().stream_lives


def test_ends_that_do_not_agree_have_no_path():
    assert moving(Stream(), way((101.1, 101.5)), way((101.1, 101.5)), path="relay/direct").to_relay().path == "none"


def test_a_move_to_direct_is_over_when_both_ends_say_so():
    assert moving(Stream(), way(), way(), path="direct").to_direct(0.1).path == "direct"
    assert moving(Stream(), way(), way(), path="direct/relay").to_direct(0.1).path == "none"


def test_what_was_parted_is_rejoined_whatever_happens():
    good, bad = Faults(), Faults(fails=True)
    moving(Stream(), way(), way(), good).to_relay()
    with pytest.raises(LabError):
        moving(Stream(), way(), way(), bad).to_relay()
    assert good.done == bad.done == ["part a b", "rejoin a b"]
