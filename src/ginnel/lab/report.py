"""What `ginnel lab run --json` prints.

Room: lab. The names are a contract with whoever reads them by program; they only grow.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Path = Literal["direct", "relay", "none"]


class Move(msgspec.Struct, frozen=True):
    """A change of path under a TCP stream and a datagram each 20 ms both ways.

    stream_lives: what it is given afterwards arrives whole. path: what both ends call it then, none where they differ.
    seconds: to direct, from the first packet; to the relay,
    from the loss of the path until datagrams arrive both ways again; None where that did not come. stream_still and
    silence: the longest time in which nothing arrived of the stream, and of the datagrams at one of the ends.
    datagrams: sent around the move, both ways together; bytes_lost: of their payload.
    """

    stream_lives: bool
    path: Path
    seconds: float | None
    stream_still: float
    datagrams: int
    datagrams_lost: int
    bytes_lost: int
    silence: float


class Pair(msgspec.Struct, frozen=True):
    """One pair's outcome. endpoint: the direct path's `ip:port`; region: the relay's code; seconds from the first
    packet that the traffic wanted to send, None where it did not come to that.

    The matrix tells more: the path's endpoint as b uses it, the seconds at each end, the limit of `expected`, and the
    technique that made it direct beside the one that was expected to. to_direct: what its move from the relay cost;
    to_relay: the same when the direct path was taken away afterwards; None where there was no such move.
    """

    a: str
    b: str
    expected: Path
    path: Path
    endpoint: str
    region: str
    seconds_to_first_byte: float | None
    seconds_to_direct: float | None
    endpoint_at_b: str = ""
    seconds_to_direct_a: float | None = None
    seconds_to_direct_b: float | None = None
    within: float | None = None
    technique: str = ""
    expected_technique: str = ""
    to_direct: Move | None = None
    to_relay: Move | None = None


class Check(msgspec.Struct, frozen=True):
    id: str
    passed: bool
    detail: str


class Outcome(msgspec.Struct, frozen=True):
    """One scenario's."""

    name: str
    passed: bool
    seconds: float
    pairs: list[Pair]
    checks: list[Check]


class Report(msgspec.Struct, frozen=True):
    scenarios: list[Outcome]
    passed: int
    failed: int


def report(outcomes: list[Outcome]) -> Report:
    passed = sum(outcome.passed for outcome in outcomes)
    return Report(outcomes, passed, len(outcomes) - passed)


class Description(msgspec.Struct, frozen=True):
    """A line of `ginnel lab list`."""

    name: str
    about: str
    hosts: list[str]
    pairs: list[tuple[str, str, Path]]


class KindDescription(msgspec.Struct, frozen=True):
    name: str
    about: str


class Catalogue(msgspec.Struct, frozen=True):
    scenarios: list[Description]
    kinds: list[KindDescription]


class Probed(msgspec.Struct, frozen=True):
    """A line of `ginnel lab probe`: what the kind claims, what packets say, and where these differ."""

    kind: str
    passed: bool
    seconds: float
    claimed: dict[str, bool | int | str | None]
    seen: dict[str, bool | int | str | None]
    differences: list[str]
