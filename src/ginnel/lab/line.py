"""One direction of a wire: what happens to frames on their way, decided by a seed and the time.

Room: lab. Nothing here reads a clock or a device. Words are tc-netem(8)'s. Frames come out in the order in which they
went in, whatever the jitter, unless reordering is asked for.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass

ETHERNET = 14
LATE = 0.010
BACKLOG_MOST = 128 << 10  # bytes that wait for a line with a rate
UNDER_WAY_MOST = 1 << 14  # frames; a line longer than that is none that anybody has


@dataclass(frozen=True, slots=True)
class Impairment:
    """delay, jitter: seconds one way, the delay being uniform in delay +- jitter. loss, duplicate, corrupt, reorder:
    the part of frames that is lost, comes twice, has a flipped bit, or comes `late` seconds late so that others
    overtake it. rate: bits per second, 0: no limit. mtu: larger IP packets vanish without a word, 0: none does."""

    delay: float = 0.0
    jitter: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0
    corrupt: float = 0.0
    reorder: float = 0.0
    late: float = LATE
    rate: float = 0.0
    mtu: int = 0

    def __post_init__(self) -> None:
        for name in ("delay", "jitter", "late", "rate", "mtu"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} counts from 0, not {getattr(self, name)}")
        for name in ("loss", "duplicate", "corrupt", "reorder"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is a part of all frames, from 0 to 1, not {getattr(self, name)}")


@dataclass(slots=True)
class Count:
    """What became of frames. `full`: the queue of a line with a rate had no room."""

    carried: int = 0
    lost: int = 0
    full: int = 0
    too_big: int = 0
    corrupted: int = 0
    duplicated: int = 0
    reordered: int = 0


class Line:
    """`take` a frame when it comes, ask `due` for those whose time has come, wake again at `next_due`. A change of
    `impairment` is for frames that come later."""

    def __init__(self, impairment: Impairment, seed: int) -> None:
        self.impairment = impairment
        self.count = Count()
        self._chance = random.Random(seed)  # noqa: S311
        self._under_way: list[tuple[float, int, bytes]] = []
        self._number = 0
        self._last = 0.0  # when the latest frame in order comes out
        self._free = 0.0  # when a line with a rate has sent what it has

    def take(self, frame: bytes, now: float) -> None:
        how = self.impairment
        if self._happens(how.loss):
            self.count.lost += 1
        elif how.mtu and len(frame) - ETHERNET > how.mtu:
            self.count.too_big += 1
        elif self._backlog(now) > BACKLOG_MOST or len(self._under_way) >= UNDER_WAY_MOST:
            self.count.full += 1
        else:
            self._send(self._perhaps_corrupt(frame), now)
            if self._happens(how.duplicate):
                self.count.duplicated += 1
                self._send(frame, now)

    def due(self, now: float) -> list[bytes]:
        """In the order in which they come out."""
        found = []
        while self._under_way and self._under_way[0][0] <= now:
            found.append(heapq.heappop(self._under_way)[2])
        self.count.carried += len(found)
        return found

    def next_due(self) -> float | None:
        return self._under_way[0][0] if self._under_way else None

    def _backlog(self, now: float) -> float:
        return max(0.0, self._free - now) * self.impairment.rate / 8

    def _send(self, frame: bytes, now: float) -> None:
        how = self.impairment
        sent = max(now, self._free)
        if how.rate:
            sent = self._free = sent + 8 * len(frame) / how.rate
        at = sent + max(0.0, how.delay + (self._chance.uniform(-how.jitter, how.jitter) if how.jitter else 0.0))
        if self._happens(how.reorder):
            self.count.reordered += 1
            at = max(at, self._last) + how.late
        else:
            at = self._last = max(at, self._last)
        self._number += 1
        heapq.heappush(self._under_way, (at, self._number, frame))

    def _perhaps_corrupt(self, frame: bytes) -> bytes:
        """One bit behind the Ethernet header, which would only send the frame elsewhere."""
        if len(frame) <= ETHERNET or not self._happens(self.impairment.corrupt):
            return frame
        self.count.corrupted += 1
        changed = bytearray(frame)
        bit = self._chance.randrange(8 * ETHERNET, 8 * len(frame))
        changed[bit // 8] ^= 1 << bit % 8
        return bytes(changed)

    def _happens(self, part: float) -> bool:
        return part > 0 and self._chance.random() < part
