"""A datagram every 20 ms to a peer who sends it back: how long nothing came through, to the probe.

Room: lab. Both ends' sockets are ours, so one clock stamps what is sent, what arrives there and what is back. UDP loses
what TCP would repeat: the first probe that is back tells when the path carries packets again, both ways.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from types import TracebackType

from ginnel.lab.namespace import Inside

EVERY = 0.02
LOOK_AGAIN = 0.1
KEPT = 1 << 16
PROBE = struct.Struct("!QQ")  # a word to know them by, a number
WORD = 0x6563686F6563686F


@dataclass(slots=True)
class Sent:
    """Monotonic seconds; 0: not, or not yet."""

    at: float
    there: float = 0.0
    back: float = 0.0


class Echo:
    """A context: probes from one host to another by their mesh addresses, for as long as the block."""

    def __init__(self, near: Inside, near_address: str, far: Inside, far_address: str) -> None:
        self.probes: deque[Sent] = deque(maxlen=KEPT)
        self.ending = threading.Event()
        self.news = threading.Condition()
        self.first = 0
        self.near = near.socket(socket.SOCK_DGRAM, (near_address, 0))
        self.far = far.socket(socket.SOCK_DGRAM, (far_address, 0))
        self.target = self.far.getsockname()
        self.threads = [
            threading.Thread(target=run, name="echo", daemon=True) for run in (self.ask, self.answer, self.listen)
        ]

    def __enter__(self) -> Echo:
        for one in (self.near, self.far):
            one.settimeout(LOOK_AGAIN)
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join()
        self.near.close()
        self.far.close()

    def flows(self, since: float, limit: float) -> float | None:
        """Seconds from `since` until the first probe sent after it is back; None when none is within `limit`."""
        with self.news:
            found = self.news.wait_for(lambda: self.first_back(since), since + limit - time.monotonic())
        return found - since if found else None

    def first_back(self, since: float) -> float:
        """0: none yet."""
        return min((probe.back for probe in self.sent_since(since) if probe.back), default=0.0)

    def first_there(self) -> float | None:
        """Seconds from the first probe of all until the first that arrived, one way; None: none has yet."""
        probes = list(self.probes)
        return min((probe.there for probe in probes if probe.there), default=probes[0].at) - probes[0].at or None

    def lost(self, since: float, until: float) -> int:
        """How many of those sent in that time are not back."""
        return sum(probe.at < until and not probe.back for probe in self.sent_since(since))

    def sent_since(self, since: float) -> list[Sent]:
        return list(takewhile(lambda probe: probe.at >= since, reversed(self.probes)))

    def ask(self) -> None:
        number, next_at = 0, time.monotonic()
        while not self.ending.wait(max(0.0, next_at - time.monotonic())):
            next_at += EVERY
            with self.news:
                self.first += len(self.probes) == KEPT
                self.probes.append(Sent(time.monotonic()))
            with suppress(OSError):  # no route for the moment; it counts as lost
                self.near.sendto(PROBE.pack(WORD, number), self.target)
            number += 1

    def answer(self) -> None:
        while not self.ending.is_set():
            with suppress(OSError):
                packet, source = self.far.recvfrom(64)
                if (probe := self.probe_of(packet)) is not None:
                    probe.there = probe.there or time.monotonic()
                    self.far.sendto(packet, source)

    def listen(self) -> None:
        while not self.ending.is_set():
            with suppress(OSError):
                packet = self.near.recv(64)
                if (probe := self.probe_of(packet)) is not None:
                    with self.news:
                        probe.back = probe.back or time.monotonic()
                        self.news.notify_all()

    def probe_of(self, packet: bytes) -> Sent | None:
        if len(packet) != PROBE.size:
            return None
        word, number = PROBE.unpack(packet)
        with self.news:
            index = number - self.first
            return self.probes[index] if word == WORD and 0 <= index < len(self.probes) else None
