"""A clock that jumps from event to event.

Room: testing.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from ginnel.words import Instant

STANDING_STILL = 100_000
"""Events of one instant."""


class VirtualClock:
    """Events of one instant run in the order in which they were planned."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = Instant(start)
        self._events: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._count = 0
        self._at_once = 0

    def at(self, when: float, event: Callable[..., object], *args: Any) -> None:
        """Run `event(*args)` then; a time that has passed means: next."""
        self._count += 1
        heappush(self._events, (max(when, self.now), self._count, event, args))

    def after(self, delay: float, event: Callable[..., object], *args: Any) -> None:
        self.at(self.now + delay, event, *args)

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        end = Instant(self.now + seconds)
        while self._events and self._events[0][0] <= end:
            self._step()
        self.now = end

    def run_until(self, done: Callable[[], bool], limit: float) -> bool:
        """Run until `done` holds after an event (True), or `limit` seconds have passed (False)."""
        end = Instant(self.now + limit)
        while not done():
            if not self._events or self._events[0][0] > end:
                self.now = end
                return done()
            self._step()
        return True

    def _step(self) -> None:
        when, _, event, args = heappop(self._events)
        self._at_once = self._at_once + 1 if when == self.now else 0
        if self._at_once > STANDING_STILL:
            raise RuntimeError(f"time stands still at {self.now}: something wakes itself for ever")
        self.now = Instant(when)
        event(*args)
