"""Numbered datagrams both ways between two hosts, one every 20 ms: which were lost, and how long nothing came.

Room: lab. Both sockets are ours, so one clock stamps both ends. Each way counts alone, unlike an echo, which is silent
both ways when one way is dead. The far end begins when it is first spoken to: who speaks first stays as it was.
"""

from __future__ import annotations

import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from types import TracebackType

from ginnel.lab.namespace import Inside

EVERY = 0.02
SIZE = 172  # bytes of payload: a fiftieth of a second of telephone, with its RTP header
KEPT = 1 << 15  # datagrams each way; more are not sent
LOOK_AGAIN = 0.05
HEAD = struct.Struct("!QQ")  # a word to know them by, a number
WORD = 0x64617461_6772616D
PADDING = bytes(SIZE - HEAD.size)


def longest_gap(times: Iterable[float], since: float, until: float) -> float:
    """The longest time between two of `times`, or from `since` to the first or from the last to `until`."""
    inner = sorted(at for at in times if since < at < until)
    return max(later - earlier for earlier, later in pairwise([since, *inner, until]))


@dataclass(slots=True)
class OneWay:
    """One direction, by number: monotonic seconds at which each was sent, and arrived; 0: it has not."""

    sent: list[float] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)

    def leave(self, now: float) -> bytes:
        """The next one."""
        self.arrived.append(0.0)
        self.sent.append(now)
        return HEAD.pack(WORD, len(self.sent) - 1) + PADDING

    def arrive(self, packet: bytes, now: float) -> None:
        """What is not one of ours is ignored, and a second copy changes nothing."""
        if len(packet) != SIZE:
            return
        word, number = HEAD.unpack_from(packet)
        if word == WORD and number < len(self.sent):
            self.arrived[number] = self.arrived[number] or now

    def between(self, since: float, until: float) -> list[float]:
        """When those arrived that were sent in that time."""
        return [there for at, there in zip(self.sent, self.arrived, strict=False) if since <= at < until]

    def lost(self, since: float, until: float) -> int:
        """How many of those sent in that time have not arrived yet."""
        return self.between(since, until).count(0.0)

    def through(self, since: float) -> float | None:
        """When the first of those that were sent from then on arrived."""
        return min(filter(None, self.between(since, float("inf"))), default=None)

    def silence(self, since: float, until: float) -> float:
        return longest_gap(list(self.arrived), since, until)


class Datagrams:
    """A context. They are sent from `begin` on, by `ways[0]` from near to far, and by `ways[1]` back."""

    def __init__(self, near: tuple[Inside, str], far: tuple[Inside, str], begin: threading.Event) -> None:
        """near and far: a host and its mesh address."""
        self.ways = OneWay(), OneWay()
        self.begin, self.ending = begin, threading.Event()
        self.ends = [space.socket(socket.SOCK_DGRAM, (address, 0)) for space, address in (near, far)]
        self.thread = threading.Thread(target=self.run, name="datagrams", daemon=True)

    def __enter__(self) -> Datagrams:
        for end in self.ends:
            end.setblocking(False)
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ending.set()
        self.thread.join()
        for end in self.ends:
            end.close()

    def run(self) -> None:
        while not self.begin.wait(LOOK_AGAIN):
            if self.ending.is_set():
                return
        next_at = time.monotonic() + EVERY
        with selectors.DefaultSelector() as selector:
            for end, way in zip(self.ends, reversed(self.ways), strict=True):
                selector.register(end, selectors.EVENT_READ, way)
            while not self.ending.is_set():
                now = time.monotonic()
                if now >= next_at:
                    self.send(now)
                    next_at = max(next_at + EVERY, now)
                for key, _ in selector.select(max(0.0, next_at - time.monotonic())):
                    receive(key.fileobj, key.data)

    def send(self, now: float) -> None:
        near, far = self.ends
        there, back = self.ways
        if len(there.sent) < KEPT:
            send(near, there, far, now)
        if len(back.sent) < KEPT and (back.sent or any(there.arrived)):
            send(far, back, near, now)


def send(end: socket.socket, way: OneWay, target: socket.socket, now: float) -> None:
    packet = way.leave(now)
    with suppress(OSError):  # no route for the moment; it counts as lost
        end.sendto(packet, target.getsockname())


def receive(end: object, way: OneWay) -> None:
    if isinstance(end, socket.socket):
        with suppress(OSError):
            while packet := end.recv(SIZE + 1):
                way.arrive(packet, time.monotonic())
