"""Which segments there are, where the next lines go, and which segments have to go for them.

Room: core. No sockets, clocks, files or logs come in. A log id's segments form a ring: its oldest goes when it would
exceed its share, so a client is never told that it wrote too much. Ids that no node claims share an eighth of the
space, for anybody can make them up; when all of it is full they go first, then the oldest of who has most.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Set
from dataclasses import dataclass, field

from ginnel.core.logs import limits

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class Space:
    """`retention` in seconds, the others in bytes."""

    retention: float
    total: int
    per_node: int

    @property
    def segment(self) -> int:
        return max(limits.MIN_SEGMENT, min(limits.MAX_SEGMENT, self.per_node // limits.SEGMENTS_PER_NODE))

    @property
    def segment_age(self) -> float:
        return min(limits.SEGMENT_AGE, self.retention / 8)

    @property
    def unknown(self) -> int:
        return self.total // limits.UNKNOWN_SHARE


@dataclass(slots=True, eq=False)
class Segment:
    """A file. `begun`: the stamp of its first frame, `ended`: none is later. `open`: this process may add to it.
    `marks`: stamps of some frames and where they lie, in order, so that a reader begins near what it looks for."""

    log_id: str
    begun: int
    ended: int
    size: int = 0
    open: bool = False
    marks: list[tuple[int, int]] = field(default_factory=list)

    def mark(self, stamp: int, at: int) -> None:
        if not self.marks or at - self.marks[-1][1] >= limits.MARK_EVERY:
            self.marks.append((stamp, at))

    def begin(self, after: int) -> int:
        """Where to look for the first frame behind `after`: at it or before it."""
        index = bisect_right(self.marks, (after, self.size))
        return self.marks[index - 1][1] if index else 0

    @property
    def name(self) -> str:
        return f"{self.begun}.zst"

    @property
    def blocks(self) -> int:
        return -(-max(self.size, 1) // limits.BLOCK) * limits.BLOCK


@dataclass(slots=True)
class Shelf:
    space: Space
    rows: dict[str, deque[Segment]] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)
    total: int = 0
    last_stamp: int = 0

    def stamp(self, wall: float) -> int:
        """A stamp for lines that came now, greater than all before."""
        self.last_stamp = max(self.last_stamp + 1, int(wall * MICROSECONDS))
        return self.last_stamp

    def put(self, segment: Segment) -> None:
        """One that exists, in the order of their stamps."""
        self.rows.setdefault(segment.log_id, deque()).append(segment)
        self._count(segment.log_id, segment.blocks)
        self.last_stamp = max(self.last_stamp, segment.ended)

    def place(self, log_id: str, stamp: int, size: int) -> tuple[Segment, bool]:
        """Where `size` bytes go; True: a file that is to be made. Tell `grew` when they are there."""
        row = self.rows.get(log_id)
        last = row[-1] if row else None
        if (
            last is not None
            and last.open
            and last.size + size <= self.space.segment
            and stamp - last.begun < self.space.segment_age * MICROSECONDS
        ):
            return last, False
        return Segment(log_id, stamp, stamp, open=True), True

    def grew(self, segment: Segment, stamp: int, size: int) -> None:
        row = self.rows.setdefault(segment.log_id, deque())
        new = not row or row[-1] is not segment
        before = 0 if new else segment.blocks
        if new:
            row.append(segment)
        segment.mark(stamp, segment.size)
        segment.size += size
        segment.ended = stamp
        self._count(segment.log_id, segment.blocks - before)

    def evict(self, wall: float, known: Set[str], wrote: str = "") -> list[Segment]:
        """What has to go now, already taken off; `wrote`: who was written for, or everybody is looked at."""
        gone = self._outdated(wall) if not wrote else []
        for log_id in [wrote] if wrote else list(self.rows):
            while self.used.get(log_id, 0) > self.space.per_node:
                gone.append(self._drop_oldest(log_id))
        if not wrote or wrote not in known:
            gone += self._too_many_unknown(known)
        while self.total > self.space.total:
            gone.append(self._drop_oldest(self._victim(known)))
        return gone

    def _outdated(self, wall: float) -> list[Segment]:
        """No line is kept longer than the retention, so a segment goes when its first line has to."""
        limit = (wall - self.space.retention) * MICROSECONDS
        return [self._drop_oldest(i) for i in list(self.rows) for s in list(self.rows[i]) if s.begun < limit]

    def _too_many_unknown(self, known: Set[str]) -> list[Segment]:
        gone = []
        unknown = [log_id for log_id in self.rows if log_id not in known]
        size, count = sum(self.used[log_id] for log_id in unknown), len(unknown)
        while size > self.space.unknown or count > limits.MAX_UNKNOWN_IDS:
            oldest = min((i for i in unknown if i in self.rows), key=lambda log_id: self.rows[log_id][0].begun)
            gone.append(self._drop_oldest(oldest))
            size -= gone[-1].blocks
            count -= oldest not in self.rows
        return gone

    def _victim(self, known: Set[str]) -> str:
        unknown = [log_id for log_id in self.rows if log_id not in known]
        if unknown:
            return min(unknown, key=lambda log_id: self.rows[log_id][0].begun)
        return max(self.used, key=lambda log_id: self.used[log_id])

    def _drop_oldest(self, log_id: str) -> Segment:
        row = self.rows[log_id]
        segment = row.popleft()
        self._count(log_id, -segment.blocks)
        if not row:
            del self.rows[log_id], self.used[log_id]
        return segment

    def _count(self, log_id: str, size: int) -> None:
        self.used[log_id] = self.used.get(log_id, 0) + size
        self.total += size

    def after(self, stamp: int, log_ids: Iterable[str] | None = None) -> list[Segment]:
        """Segments with frames behind `stamp`, of these ids or of all, each id's in order."""
        wanted = self.rows if log_ids is None else [i for i in log_ids if i in self.rows]
        return [segment for log_id in wanted for segment in self.rows[log_id] if segment.ended > stamp]
