"""A clock that jumps from event to event.

Room: testing.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush

from ginnel.words import Instant

Event = Callable[[], None]


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
        while not done():
            if not self._events or self._events[0][0] > end:
                self.now = end
                return done()
            self.now, _, event = heappop(self._events)
            event()
        return True
