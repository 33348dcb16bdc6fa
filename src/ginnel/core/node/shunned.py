"""Endpoints that answered disco and did not carry data: not used for a while, longer each time.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ginnel.core.node.constants import SHUNNED_FIRST, SHUNNED_FORGOTTEN, SHUNNED_KEPT, SHUNNED_MAX
from ginnel.words import Endpoint, Instant


class Fault(StrEnum):
    """In words for people."""

    DATA = "carries no data"
    SIZE = "loses large packets"


@dataclass(frozen=True, slots=True)
class Sentence:
    fault: Fault
    times: int
    until: Instant


class Shunned:
    """By endpoint; over SHUNNED_KEPT the oldest is forgotten."""

    def __init__(self) -> None:
        self._held: dict[Endpoint, Sentence] = {}

    def add(self, endpoint: Endpoint, fault: Fault, now: Instant) -> None:
        before = self._held.pop(endpoint, None)
        times = before.times + 1 if before is not None and not _forgotten(before, now) else 1
        length = min(SHUNNED_MAX, SHUNNED_FIRST * 2 ** (times - 1))
        self._held[endpoint] = Sentence(fault, times, Instant(now + length))
        if len(self._held) > SHUNNED_KEPT:
            del self._held[next(iter(self._held))]

    def now(self, endpoint: Endpoint, now: Instant) -> bool:
        held = self._held.get(endpoint)
        return held is not None and now < held.until

    def lately(self, endpoint: Endpoint, now: Instant) -> bool:
        """Now or not long ago."""
        held = self._held.get(endpoint)
        return held is not None and not _forgotten(held, now)

    def clear(self) -> None:
        self._held.clear()

    def each(self, now: Instant) -> Iterator[tuple[Endpoint, Sentence]]:
        """Those that are shunned now."""
        return ((endpoint, held) for endpoint, held in self._held.items() if now < held.until)


def _forgotten(held: Sentence, now: Instant) -> bool:
    return now - held.until >= SHUNNED_FORGOTTEN
