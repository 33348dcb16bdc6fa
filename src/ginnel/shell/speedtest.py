"""Throughput between two machines of the mesh, over one TCP connection (tailscale: net/speedtest, version 2).

Room: shell. The client says in a line of JSON how long and which way; the server answers with a line, then one of them
sends random bytes until the time is over, and the other counts. Blocking sockets: nothing else happens meanwhile.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import TypeVar

import msgspec

T = TypeVar("T")

PORT = 20333
VERSION = 2
BLOCK = 2 << 20
LINE_MOST = 4096
EACH = 1.0
SHORTEST, LONGEST = 1.0, 30.0
LATE = 5.0
"""Seconds: for a line to come, and for data to come after the time is over."""

WORTH = 0.01
"""Seconds: a shorter interval tells nothing."""


class Direction(IntEnum):
    """As the client sees it."""

    DOWNLOAD = 0
    UPLOAD = 1


class Config(msgspec.Struct, frozen=True):
    version: int
    nanoseconds: int = msgspec.field(name="time")
    direction: Direction


class Response(msgspec.Struct, frozen=True, omit_defaults=True):
    error: str = ""


class SpeedtestError(Exception):
    """One line."""


@dataclass(frozen=True, slots=True)
class Interval:
    """Seconds since the start, and the bytes that were moved meanwhile."""

    start: float
    end: float
    bytes: int

    @property
    def bits_per_second(self) -> float:
        return 8 * self.bytes / (self.end - self.start)


def ask(address: tuple[str, int], direction: Direction, seconds: float) -> Iterator[Interval]:
    """The client's part: an interval a second, and what is left. Raises SpeedtestError."""
    where = f"{address[0]} port {address[1]}"
    try:
        with socket.create_connection(address, timeout=LATE) as connection:
            connection.sendall(msgspec.json.encode(Config(VERSION, int(seconds * 1e9), direction)) + b"\n")
            answer = _line(connection, Response)
            if answer.error:
                raise SpeedtestError(f"{where} refuses: {answer.error}")
            yield from _moved(connection, seconds, sending=direction is Direction.UPLOAD)
    except TimeoutError:
        raise SpeedtestError(f"{where} is silent: is it up, and does the policy let you there?") from None
    except ConnectionRefusedError:
        raise SpeedtestError(f"nothing listens at {where}: run `ginnel speedtest --server` there") from None
    except OSError as error:
        raise SpeedtestError(f"{where}: {error.strerror or error}") from None


def serve_one(listening: socket.socket) -> tuple[str, Interval]:
    """One client, to its end; the interval is the whole. Raises SpeedtestError for a client that spoils it."""
    connection, client = listening.accept()
    name = str(client[0])
    try:
        with connection:
            connection.settimeout(LATE)
            seconds, direction = _asked(connection)
            connection.sendall(msgspec.json.encode(Response()) + b"\n")
            return name, whole(list(_moved(connection, seconds, sending=direction is Direction.DOWNLOAD)))
    except OSError as error:
        raise SpeedtestError(f"{name} went away: {error.strerror or error}") from None
    except SpeedtestError as error:
        raise SpeedtestError(f"{name}: {error}") from None


def _asked(connection: socket.socket) -> tuple[float, Direction]:
    try:
        config = _line(connection, Config)
        if config.version != VERSION:
            raise SpeedtestError(f"it speaks version {config.version}, this machine {VERSION}")
        if not 0 < config.nanoseconds <= LONGEST * 1e9:
            raise SpeedtestError(f"it asks for {config.nanoseconds / 1e9:g} s, at most {LONGEST:g} are allowed")
    except SpeedtestError as error:
        connection.sendall(msgspec.json.encode(Response(str(error))) + b"\n")
        raise
    return config.nanoseconds / 1e9, config.direction


def _line(connection: socket.socket, kind: type[T]) -> T:
    """One line, and no byte of what follows it."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = connection.recv(1) if len(line) < LINE_MOST else b""
        if not byte:
            raise SpeedtestError("it does not speak the speed test's protocol")
        line += byte
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError:
        raise SpeedtestError("it does not speak the speed test's protocol") from None


def _moved(connection: socket.socket, seconds: float, *, sending: bool) -> Iterator[Interval]:
    """Sends until the time is over, or counts until the other end closes."""
    block = bytearray(os.urandom(BLOCK))
    began = last = now = time.monotonic()
    count = 0
    while now - began <= seconds + (0 if sending else LATE):
        moved = connection.send(block) if sending else connection.recv_into(block)
        if not moved:
            break
        count += moved
        now = time.monotonic()
        if now - last >= EACH:
            yield Interval(last - began, now - began, count)
            last, count = now, 0
    if now - last > WORTH:
        yield Interval(last - began, now - began, count)


def whole(intervals: list[Interval]) -> Interval:
    """Raises SpeedtestError where nothing came."""
    if not intervals:
        raise SpeedtestError("no data came")
    return Interval(intervals[0].start, intervals[-1].end, sum(one.bytes for one in intervals))
