"""One change of the set at a time, and reading it back: whether it may be touched now, and when again after a failure.

Room: core.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.firewall.sync_words import Apply
from ginnel.words import Instant, IpAddress

RETRY_FIRST = 2.0
RETRY_MOST = 60.0
GATHER = 1.0
"""Answers that come within this go into the set together, while more are awaited."""


@dataclass(slots=True)
class HeldSet:
    """`held`: what is in it; None when nobody can tell. `open`: an order that is not answered yet."""

    read_at: Instant
    read_every: float
    held: frozenset[IpAddress] | None = None
    reading: bool = False
    open: Apply | None = None
    failures: int = 0
    changed_at: Instant | None = None
    fresh: bool = False
    """Whether `held` was read this very moment: only then anything is taken out of it."""

    def changed(self, now: Instant) -> None:
        """What should be in it has changed, or what is in it."""
        if self.changed_at is None:
            self.changed_at = now

    def touch_at(self, *, more: bool) -> Instant | None:
        """When it may be changed; None: there is no reason to, or no way. `more`: further answers are awaited."""
        if self.held is None or self.reading or self.open is not None or self.changed_at is None:
            return None
        return Instant(self.changed_at + GATHER) if more else self.changed_at

    def wants_reading(self, now: Instant) -> bool:
        return not self.reading and self.open is None and self.read_at <= now

    def next_read(self) -> Instant | None:
        return None if self.reading or self.open is not None else self.read_at

    def was_read(self, found: frozenset[IpAddress], now: Instant) -> bool:
        """True when reading or changing it had failed before."""
        self.reading, self.held, self.read_at = False, found, Instant(now + self.read_every)
        self.fresh = True
        self.changed(now)
        return self.failures > 0

    def was_applied(self, now: Instant) -> None:
        change, self.open, self.failures = self.open, None, 0
        if change is not None and self.held is not None:
            self.held = self.held - change.removes.keys() | change.adds.keys()
        self.changed(now)

    def went_wrong(self, now: Instant) -> bool:
        """It may hold anything now: it is read before it is touched again. True for the first failure in a row."""
        self.reading, self.open, self.held = False, None, None
        wait = min(RETRY_FIRST * 2 ** min(self.failures, 10), RETRY_MOST, self.read_every)
        self.failures += 1
        self.read_at = Instant(now + wait)
        return self.failures == 1
