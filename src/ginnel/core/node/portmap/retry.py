"""A question to the router that is repeated until it is answered or the router is taken for gone.

Room: core.
"""

from __future__ import annotations

from ginnel.core.node.portmap.constants import RETRIES
from ginnel.words import Instant


class Retry:
    """`open`: asked and not answered."""

    def __init__(self) -> None:
        self._sent = 0
        self.next: Instant | None = None

    @property
    def open(self) -> bool:
        return self.next is not None

    def begin(self, now: Instant) -> None:
        """The first send is now."""
        self._sent = 0
        self._plan(now)

    def done(self) -> None:
        self.next = None

    def due(self, now: Instant) -> bool:
        return self.next is not None and self.next <= now

    def again(self, now: Instant) -> bool:
        """Send once more, or False: that was the last time."""
        if self._sent >= len(RETRIES):
            self.next = None
            return False
        self._plan(now)
        return True

    def _plan(self, now: Instant) -> None:
        self.next = Instant(now + RETRIES[self._sent])
        self._sent += 1
