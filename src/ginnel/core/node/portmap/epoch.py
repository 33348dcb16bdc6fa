"""Noticing that a router forgot its mappings, by the age of its table (RFC 6886 §3.6).

Room: core.
"""

from __future__ import annotations

from ginnel.words import Instant

SLOWEST = 7 / 8  # a router's clock may run that slow
SLACK = 2.0


class Epoch:
    """The last age that was heard, and when."""

    def __init__(self) -> None:
        self._last: tuple[int, Instant] | None = None

    def heard(self, seconds: int, now: Instant) -> bool:
        """Whether the router lost its state since the time before: its table is younger than it can be."""
        last, self._last = self._last, (seconds, now)
        if last is None:
            return False
        before, at = last
        return seconds < before + (now - at) * SLOWEST - SLACK
