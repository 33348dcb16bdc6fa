"""The node's own uploads: which lines wait, what is sent when, and when it is tried again (tailscale:
logtail/logtail.go).

Room: core. No sockets, clocks, files or logs come in. Lines wait in memory, a few MiB of them: the oldest go first, and
how many went is told. What is on its way is kept until it has been taken.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from ginnel.core.logs import limits
from ginnel.core.logs.redact import without_secrets
from ginnel.core.logs.upload import CUT
from ginnel.wire.zstdframe import fold
from ginnel.words import Instant, WallTime

COLLECTION = "tailnode.log.tailscale.io"
"""A name in a path and no address; the one that official daemons use, so that every log host takes it."""

SMALL = 256
SAVING = 64
NEVER_TAKEN = (400, 413, 415)
"""What the log host finds wrong with these lines it will find wrong again."""


@dataclass(frozen=True, slots=True)
class Upload:
    """`encoding`: "zstd", or "" where that saves nothing. `size`: of the body before it."""

    body: bytes
    encoding: str
    size: int
    lines: int


@dataclass(slots=True)
class Uploader:
    """`jitter` gives numbers in [0, 1). One upload at a time: `tick` gives it, `taken` or `failed` ends it."""

    process: int
    jitter: Callable[[], float]
    _waiting: deque[bytes] = field(default_factory=deque)
    _size: int = 0
    _sequence: int = 0
    _lost: int = 0
    _sending: Upload | None = None
    _under_way: bool = False
    _due: Instant | None = None
    _disabled: bool = False

    # --- lines -----------------------------------------------------------------------------------------------

    def line(self, text: str, wall: WallTime, now: Instant) -> None:
        if self._disabled:
            return
        entry = self._entry(text, wall)
        self._waiting.append(entry)
        self._size += len(entry)
        while self._size > limits.MAX_BUFFER:
            self._size -= len(self._waiting.popleft())
            self._lost += 1
        if self._due is None and self._sending is None:
            self._due = Instant(now + limits.FLUSH_AFTER)

    def lost(self, count: int) -> None:
        """Lines that did not even get here."""
        self._lost += count

    def _entry(self, text: str, wall: WallTime) -> bytes:
        self._sequence += 1
        safe = without_secrets(text)
        kept = safe if len(safe) <= limits.MAX_TEXT else safe[: limits.MAX_TEXT] + CUT
        return msgspec.json.encode(
            {
                "logtail": {"client_time": _time(wall), "proc_id": self.process, "proc_seq": self._sequence},
                "text": kept.encode(errors="replace").decode() + "\n",
            }
        )

    def disable(self) -> None:
        """The coordination server's word, for the life of this process: nothing more is sent or kept."""
        self._disabled = True
        self._waiting.clear()
        self._size = self._lost = 0
        self._sending = self._due = None

    # --- uploads ---------------------------------------------------------------------------------------------

    def next_timeout(self) -> Instant | None:
        return None if self._under_way else self._due

    def tick(self, now: Instant, wall: WallTime) -> Upload | None:
        """What to send now."""
        if self._under_way or self._due is None or now < self._due:
            return None
        self._due = None
        if self._sending is None:
            self._sending = self._batch(now, wall)
        self._under_way = self._sending is not None
        return self._sending

    def taken(self, now: Instant) -> None:
        self._under_way, self._sending = False, None
        if self._waiting and not self._disabled:
            self._due = Instant(now + limits.FLUSH_AFTER)

    def failed(self, now: Instant, status: int = 0, retry_after: float = 0.0) -> None:
        """`status`: the answer's, 0 where there was none. `retry_after`: seconds it asked for, 0 for none."""
        self._under_way = False
        if self._disabled:
            return
        if status in NEVER_TAKEN and self._sending is not None:
            self._lost += self._sending.lines
            self._sending = None
        wait = min(retry_after, limits.MAX_RETRY_AFTER) if retry_after > 0 else 30.0 + 30.0 * self.jitter()
        self._due = Instant(now + wait)

    def _batch(self, now: Instant, wall: WallTime) -> Upload | None:
        lost, self._lost = self._lost, 0
        if lost:
            self.line(f"{lost} lines were lost: the log host did not take them, or not in time", wall, now)
            self._due = None
        entries: list[bytes] = []
        size = 0
        while self._waiting and size + len(self._waiting[0]) <= limits.MAX_BATCH:
            entries.append(self._waiting.popleft())
            size += len(entries[-1]) + 2
            self._size -= len(entries[-1])
        return _upload(b"[" + b",\n".join(entries) + b"]", len(entries)) if entries else None


def _upload(body: bytes, lines: int) -> Upload:
    folded = fold(body) if len(body) > SMALL else body
    if len(body) - len(folded) <= SAVING:
        return Upload(body, "", len(body), lines)
    return Upload(folded, "zstd", len(body), lines)


def _time(wall: WallTime) -> str:
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
