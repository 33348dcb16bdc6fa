"""How many addresses of one peer may be asked while none of them answers: behind a NAT that maps each destination anew
it collects many, and none of them will ever do.

Room: core. One bucket for each peer. What each single address may get is probe_budget.py's.
"""

from __future__ import annotations

from ginnel.core.node.constants import SEARCH_BURST, SEARCH_RATE
from ginnel.words import Instant


class SearchBudget:
    """A token for each probe of a round. Full at the start."""

    def __init__(self) -> None:
        self._tokens = SEARCH_BURST
        self._since: Instant | None = None

    def left(self, now: Instant) -> int:
        if self._since is not None:
            self._tokens = min(SEARCH_BURST, self._tokens + (now - self._since) * SEARCH_RATE)
        self._since = now
        return int(self._tokens)

    def spend(self) -> None:
        self._tokens -= 1

    def fill(self) -> None:
        """There is reason to hope: an address answered, or the search is a first one."""
        self._tokens = SEARCH_BURST
