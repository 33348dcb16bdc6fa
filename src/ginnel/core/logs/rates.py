"""How much each source may upload, and how often each client: token buckets by name, a bounded number of them.

Room: core. Time is an argument.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from ginnel.core.logs import limits
from ginnel.words import Instant


@dataclass(slots=True)
class Rates:
    """`rate`: tokens a second; `burst`: how many there are at first and at most."""

    rate: float
    burst: float
    _by_source: OrderedDict[str, tuple[float, Instant]] = field(default_factory=OrderedDict)

    def admits(self, source: str, now: Instant) -> bool:
        """Whether one more upload may begin; if so it is counted."""
        tokens = self._tokens(source, now)
        if tokens < 1.0:
            return False
        self._set(source, tokens - 1.0, now)
        return True

    def pause(self, source: str, now: Instant) -> float:
        """Count one more; seconds until there is room for it."""
        tokens = self._tokens(source, now) - 1.0
        self._set(source, tokens, now)
        return max(0.0, -tokens / self.rate)

    def charge(self, source: str, size: int, now: Instant) -> None:
        """What the upload turned out to hold; the bucket may owe, so that large ones pay before the next."""
        self._set(source, self._tokens(source, now) - size / limits.CHARGE_SIZE, now)

    def _tokens(self, source: str, now: Instant) -> float:
        tokens, since = self._by_source.get(source, (self.burst, now))
        return min(self.burst, tokens + (now - since) * self.rate)

    def _set(self, source: str, tokens: float, now: Instant) -> None:
        self._by_source.pop(source, None)
        self._by_source[source] = (tokens, now)
        while len(self._by_source) > limits.MAX_SOURCES:
            self._by_source.popitem(last=False)

    def __len__(self) -> int:
        return len(self._by_source)
