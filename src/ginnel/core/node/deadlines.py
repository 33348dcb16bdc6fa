"""Who wants waking when: a heap with one live entry for each name.

Room: core. `set` and `pop_due` cost O(log n); the silent are never looked at.
"""

from __future__ import annotations

from collections.abc import Hashable
from heapq import heapify, heappop, heappush
from typing import Generic, TypeVar

from ginnel.words import Instant

Name = TypeVar("Name", bound=Hashable)


class Deadlines(Generic[Name]):
    """Stale entries stay in the heap until they surface; it is rebuilt when they are more than half of it."""

    def __init__(self) -> None:
        self._at: dict[Name, tuple[Instant, int]] = {}
        self._heap: list[tuple[Instant, int, Name]] = []
        self._count = 0

    def set(self, name: Name, at: Instant | None) -> None:
        """Wake `name` at that time and at no other; None: never."""
        held = self._at.get(name)
        if at is None:
            self._at.pop(name, None)
        elif held is None or held[0] != at:
            self._count += 1  # orders equal times and keeps names from being compared
            self._at[name] = (at, self._count)
            heappush(self._heap, (at, self._count, name))
            if len(self._heap) > 2 * len(self._at) + 64:
                self._heap = [(when, count, name) for name, (when, count) in self._at.items()]
                heapify(self._heap)

    def pop_due(self, now: Instant) -> list[Name]:
        """The names whose time has come, earliest first; each is forgotten until it is set again."""
        due: list[Name] = []
        while (first := self.next()) is not None and first <= now:
            _, _, name = heappop(self._heap)
            del self._at[name]
            due.append(name)
        return due

    def next(self) -> Instant | None:
        while self._heap:
            at, count, name = self._heap[0]
            if self._at.get(name) == (at, count):
                return at
            heappop(self._heap)
        return None
