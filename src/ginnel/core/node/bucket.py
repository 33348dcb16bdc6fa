"""A token bucket: so many at once, and so many a second.

Room: core.
"""

from __future__ import annotations

from ginnel.words import Instant


class TokenBucket:
    """Full at the start. `burst`: what it holds; `rate`: tokens a second."""

    __slots__ = ("_burst", "_rate", "_since", "_tokens")

    def __init__(self, burst: float, rate: float) -> None:
        self._burst = self._tokens = burst
        self._rate = rate
        self._since: Instant | None = None

    def left(self, now: Instant) -> int:
        """Whole tokens."""
        if self._since is not None:
            self._tokens = min(self._burst, self._tokens + (now - self._since) * self._rate)
        self._since = now
        return int(self._tokens)

    def take(self, now: Instant, count: int = 1) -> bool:
        """All of them or, where there are fewer, none."""
        if self.left(now) < count:
            return False
        self._tokens -= count
        return True

    def fill(self) -> None:
        self._tokens = self._burst
