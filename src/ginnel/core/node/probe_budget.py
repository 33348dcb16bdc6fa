"""How often an address that has not answered may be probed: we are not to be made a reflector.

Room: core. One bucket for each address, shared by all peers that name it; an answer fills its bucket.
"""

from __future__ import annotations

from ginnel.core.node.constants import PROBE_BURST, PROBE_RATE
from ginnel.words import Endpoint, Instant

BUCKETS_KEPT = 4096


class ProbeBudget:
    """Token buckets; full ones are forgotten, so memory is bounded by what was probed in the last seconds."""

    def __init__(self) -> None:
        self._buckets: dict[Endpoint, tuple[float, Instant]] = {}
        self._swept = Instant(float("-inf"))

    def spend(self, to: Endpoint, now: Instant) -> bool:
        """Whether one more probe may go there now; if so it is counted."""
        tokens = self._tokens(to, now)
        if tokens < 1.0:
            return False
        if to not in self._buckets and not self._room(now):
            return False
        self._buckets[to] = (tokens - 1.0, now)
        return True

    def answered(self, endpoint: Endpoint) -> None:
        self._buckets.pop(endpoint, None)

    def _tokens(self, to: Endpoint, now: Instant) -> float:
        tokens, since = self._buckets.get(to, (PROBE_BURST, now))
        return min(PROBE_BURST, tokens + (now - since) * PROBE_RATE)

    def _room(self, now: Instant) -> bool:
        """Whether one more address may be remembered; the full buckets are swept out at most once a second."""
        if len(self._buckets) >= BUCKETS_KEPT and now - self._swept >= 1.0:
            self._swept = now
            self._forget_full(now)
        return len(self._buckets) < BUCKETS_KEPT

    def _forget_full(self, now: Instant) -> None:
        self._buckets = {to: held for to, held in self._buckets.items() if self._tokens(to, now) < PROBE_BURST}
