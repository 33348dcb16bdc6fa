"""Refused logins wait for their answer: official clients try again within milliseconds, with a new key each time.

Room: core. Nothing is stored of a refused attempt but a count for its source.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from ginnel.core.control import limits
from ginnel.words import Instant


@dataclass(slots=True)
class Refusals:
    _by_source: OrderedDict[str, tuple[int, Instant]] = field(default_factory=OrderedDict)

    def delay(self, source: str, now: Instant) -> float:
        """Note one more refusal; seconds to hold its answer back."""
        count, since = self._by_source.pop(source, (0, now))
        if now - since >= limits.REFUSAL_MEMORY:
            count = 0
        self._by_source[source] = (count + 1, now)
        while len(self._by_source) > limits.MAX_REFUSED_SOURCES:
            self._by_source.popitem(last=False)
        return min(limits.FIRST_REFUSAL_DELAY * 2.0 ** min(count, 30), limits.MAX_REFUSAL_DELAY)

    def __len__(self) -> int:
        return len(self._by_source)
