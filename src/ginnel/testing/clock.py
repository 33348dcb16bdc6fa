"""A clock that jumps from event to event.

Room: testing.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from ginnel.words import Instant

Event = Callable[[], None]
STANDING_STILL = 100_000
"""Events of one instant."""


class VirtualClock:
    """Events of one instant run in the order in which they were planned."""

    def __init__(self, start: float = 1000.0) -> None:
        self.now = Instant(start)
        self._events: list[tuple[Instant, int, Event]] = []
        self._count = 0

    def at(self, when: Instant, event: Event) -> None:
        """Run `event` then; a time that has passed means: next."""
        self._count += 1
        heappush(self._events, (max(when, self.now), self._count, event))

    def after(self, delay: float, event: Event) -> None:
        self.at(Instant(self.now + delay), event)

    def run(self, seconds: float) -> None:
        """Let that much time pass."""
        self.run_until(lambda: False, seconds)

    def run_until(self, done: Callable[[], bool], limit: float) -> bool:
        """Run until `done` holds after an event (True), or `limit` seconds have passed (False)."""
        end = Instant(self.now + limit)
        at_once = 0
        while not done():
            if not self._events or self._events[0][0] > end:
                self.now = end
                return done()
            before = self.now
            self.now, _, event = heappop(self._events)
            at_once = at_once + 1 if self.now == before else 0
            if at_once > STANDING_STILL:
                raise RuntimeError(f"time stands still at {self.now}: something wakes itself for ever")
            event()
        return True
