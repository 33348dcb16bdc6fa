"""When to ask an authority for a certificate.

Room: core. The certificate, the clock and chance are arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.relay.identity import CLOCK_SKEW, LeafFacts
from ginnel.words import WallTime

RENEWAL_AGE = 2 / 3
"""Of a certificate's life, as authorities advise."""

JITTER = 1 / 20
"""Of its life, early or late: relays that were set up together don't come back together."""

FIRST_RETRY = 900.0
LAST_RETRY = 6 * 3600.0
"""Seconds. An authority bears few failures an hour for one name, and each try may fail in two ways."""


@dataclass(slots=True)
class Renewal:
    """`chance`: 0 to 1. `failures` and `failed_at` live on disk, or a relay that is restarted again and again would
    use up what the authority bears."""

    chance: float
    failures: int
    failed_at: WallTime

    def due(self, leaf: LeafFacts | None) -> WallTime:
        """When to ask: `leaf` is what the authority gave last."""
        wanted = self._renewal_of(leaf) if leaf is not None else WallTime(0.0)
        return max(wanted, WallTime(self.failed_at + self._pause())) if self.failures else wanted

    def failed(self, now: WallTime) -> None:
        self.failures += 1
        self.failed_at = now

    def succeeded(self) -> None:
        self.failures = 0

    def _renewal_of(self, leaf: LeafFacts) -> WallTime:
        begun = leaf.made - CLOCK_SKEW.total_seconds()
        life = leaf.expires - begun
        return WallTime(begun + life * (RENEWAL_AGE + JITTER * (2 * self.chance - 1)))

    def _pause(self) -> float:
        doubled = FIRST_RETRY * float(2 ** min(self.failures - 1, 10))
        return min(doubled, LAST_RETRY) * (0.75 + self.chance / 2)
