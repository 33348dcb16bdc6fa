"""How long a conversation may be relayed though a search gets through: until its searches are done, if none was wasted.

Room: testing. A search that runs while something is amiss may miss, and then there is none for minutes: that pair is
owed nothing until it has found its path anew and what was spent is forgotten.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ginnel.testing.oracle_search import Search
from ginnel.words import Instant

if TYPE_CHECKING:
    from ginnel.testing.facts import Facts
    from ginnel.testing.node import SimNode

SPENT_FOR = 300.0
NEVER = Instant(float("-inf"))


class SearchPatience:
    """Of one pair."""

    def __init__(self, facts: Facts, a: SimNode, b: SimNode) -> None:
        self._facts, self._a, self._b = facts, a, b
        self._settled_at = facts.world.watch.settled_at
        self._spent_at = NEVER

    def look(self, now: Instant, *, direct: bool) -> None:
        settled_at = self._facts.world.watch.settled_at
        stirred, self._settled_at = settled_at != self._settled_at, settled_at
        if direct and now - self._spent_at > SPENT_FOR:
            self._spent_at = NEVER
        if not direct and (stirred or not self._facts.quiet(self._a, self._b)):
            self._spent_at = now

    def unwatched(self, now: Instant) -> None:
        """They send without a conversation that looks back: what becomes of that search is not seen."""
        self._spent_at = now

    def within(self, search: Search) -> float:
        """Seconds."""
        return search.within if self._spent_at == NEVER else float("inf")
