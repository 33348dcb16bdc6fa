"""Whether the largest datagram that the tunnel sends gets through by a way whose small pings are answered.

Room: core. A link that drops what is too large for it, and says nothing, lets disco and every small packet pass. So a
ping of full size goes out beside a small one; only a small one that is answered makes the large one's loss count.
"""

from __future__ import annotations

from enum import Enum, auto

from ginnel.core.node.constants import SIZE_AGAIN, SIZE_LOSSES, SIZE_PINGS
from ginnel.core.node.path_actions import NEVER
from ginnel.words import Instant


class Outcome(Enum):
    """Of one pair of pings."""

    ASK_AGAIN = auto()
    TOO_LARGE = auto()
    UNKNOWN = auto()
    """Small ones are lost as well: that is for others to judge."""


class SizeCheck:
    """Of one way at a time. `running`: a pair is out."""

    def __init__(self) -> None:
        self.running = False
        self._passed_at = NEVER
        self._pings = 0
        self._losses = 0
        self._small_answered = False

    def forget(self) -> None:
        """Another way."""
        self.running, self._passed_at, self._losses = False, NEVER, 0

    def stop(self) -> None:
        """Nobody waits for the pair that is out: the way is not trusted now. It may begin again."""
        self.running = False

    def begin(self, *, small_answered: bool) -> None:
        self.running, self._pings, self._losses = True, 1, 0
        self._small_answered = small_answered

    def small_answered(self) -> None:
        self._small_answered = True

    def passed(self, now: Instant) -> None:
        self.running, self._passed_at, self._losses = False, now, 0

    def certain(self) -> bool:
        """Full size passed, and nothing has spoken against it since."""
        return self._passed_at != NEVER and not self._losses

    def due_again(self, now: Instant) -> bool:
        return not self.running and now - self._passed_at >= SIZE_AGAIN

    def pair_over(self) -> Outcome:
        """Neither... nor, or the small one alone, was answered in time."""
        self._losses += self._small_answered
        if self._losses >= SIZE_LOSSES:
            self.running = False
            return Outcome.TOO_LARGE
        if self._pings >= SIZE_PINGS:
            self.running = False
            return Outcome.UNKNOWN
        self._pings += 1
        self._small_answered = False
        return Outcome.ASK_AGAIN
