"""Control connections that have not shown a registered node yet: anybody can open them, so they are few.

Room: shell. A newcomer is never turned away, or whoever holds all places would keep every node of the mesh from coming
back. The source that has the most places loses its oldest one instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

from ginnel.core.control import limits

C = TypeVar("C")


class Strangers(Generic[C]):
    """Connections by source, oldest first. `evict` is told of each that has to go; it is out already."""

    def __init__(self, evict: Callable[[C], None]) -> None:
        self._evict = evict
        self._by_source: dict[str, dict[C, None]] = {}

    def __iter__(self) -> Iterator[C]:
        return (connection for same in self._by_source.values() for connection in same)

    def __len__(self) -> int:
        return sum(map(len, self._by_source.values()))

    def add(self, connection: C, source: str) -> None:
        while len(self._by_source.get(source, ())) >= limits.MAX_STRANGERS_PER_SOURCE:
            self._push_out(source)
        while len(self) >= limits.MAX_STRANGERS:
            self._push_out(max(self._by_source, key=lambda other: len(self._by_source[other])))
        self._by_source.setdefault(source, {})[connection] = None

    def discard(self, connection: C, source: str) -> None:
        same = self._by_source.get(source, {})
        same.pop(connection, None)
        if not same:
            self._by_source.pop(source, None)

    def _push_out(self, source: str) -> None:
        oldest = next(iter(self._by_source[source]))
        self.discard(oldest, source)
        self._evict(oldest)
