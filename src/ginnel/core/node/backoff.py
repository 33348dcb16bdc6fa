"""How long to wait after a failure: doubling, with jitter, never beyond a limit.

Room: core. No sockets, clocks, files or logs come in; the jitter is an argument.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FIRST = 0.1
LIMIT = 30.0


@dataclass(slots=True)
class Backoff:
    """`jitter` gives numbers in [0, 1): a whole mesh that lost its server must not come back in one instant."""

    jitter: Callable[[], float]
    first: float = FIRST
    limit: float = LIMIT
    failures: int = 0

    def failed(self) -> float:
        """Count a failure; returns the seconds to wait, between half and all of the doubled delay."""
        delay = min(self.limit, self.first * 2.0 ** min(self.failures, 30))
        self.failures += 1
        return delay * (0.5 + self.jitter() / 2)

    def succeeded(self) -> None:
        self.failures = 0
