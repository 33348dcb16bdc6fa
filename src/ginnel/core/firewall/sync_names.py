"""When DNS is asked for what: each name within its TTL, a failed question again soon and then ever more seldom.

Room: core.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection
from dataclasses import dataclass

from ginnel.core.firewall.sync_words import AT_ONCE, Question, Settings
from ginnel.words import Instant

RETRY_MOST = 120.0


@dataclass(slots=True)
class _Asked:
    ask_at: Instant
    failures: int = 0
    heard: bool = False
    open: bool = False
    closed: bool = False
    ttl: float = 0.0


class Names:
    """`open`: how many questions wait for their answers; AT_ONCE at most."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._asked: dict[Question, _Asked] = {}
        self._queue: list[tuple[Instant, Question]] = []
        self.open = 0
        self._first_time = 0  # questions that were never closed

    def __contains__(self, question: object) -> bool:
        return question in self._asked

    def __len__(self) -> int:
        return len(self._asked)

    def failing(self) -> list[Question]:
        return sorted(question for question, asked in self._asked.items() if asked.failures)

    def waiting(self) -> bool:
        """Whether some question has had neither an answer nor a failure since the start."""
        return self._first_time > 0

    def unheard(self) -> bool:
        """Whether some question has had no good answer since the start."""
        return any(not asked.heard for asked in self._asked.values())

    def wanted(self, questions: Collection[Question], now: Instant) -> None:
        """These and no others are asked, new ones at once."""
        for question in self._asked.keys() - questions:
            gone = self._asked.pop(question)
            self.open -= gone.open
            self._first_time -= not gone.closed
        for question in sorted(questions - self._asked.keys()):
            self._asked[question] = _Asked(now)
            self._first_time += 1
            heapq.heappush(self._queue, (now, question))

    def due(self, now: Instant) -> list[Question]:
        """Who is to be asked for now: each is answered by `heard` or `failed`."""
        found = []
        while self.open < AT_ONCE and (first := self._first()) is not None and first[0] <= now:
            heapq.heappop(self._queue)
            self._asked[first[1]].open = True
            self.open += 1
            found.append(first[1])
        return found

    def next_timeout(self) -> Instant | None:
        first = self._first() if self.open < AT_ONCE else None
        return first[0] if first else None

    def _first(self) -> tuple[Instant, Question] | None:
        """The head of the queue, without what was forgotten or is open."""
        while self._queue:
            at, question = self._queue[0]
            asked = self._asked.get(question)
            if asked is not None and not asked.open and asked.ask_at == at:
                return self._queue[0]
            heapq.heappop(self._queue)
        return None

    def heard(self, question: Question, ttl: float, now: Instant) -> bool:
        """A good answer, also that there is nothing. True when the last ones had failed."""
        asked = self._closed(question)
        recovered, asked.failures, asked.heard = asked.failures > 0, 0, True
        asked.ttl = self._settings.bounded(ttl)
        self._again(question, asked, Instant(now + asked.ttl))
        return recovered

    def failed(self, question: Question, now: Instant) -> bool:
        """True for the first failure in a row."""
        asked = self._closed(question)
        asked.failures += 1
        wait = min(self._settings.ttl_least * 2 ** min(asked.failures - 1, 10), RETRY_MOST, self._settings.ttl_most)
        self._again(question, asked, Instant(now + wait))
        return asked.failures == 1

    def is_open(self, question: Question) -> bool:
        asked = self._asked.get(question)
        return asked is not None and asked.open

    def _closed(self, question: Question) -> _Asked:
        asked = self._asked[question]
        asked.open = False
        self.open -= 1
        self._first_time -= not asked.closed
        asked.closed = True
        return asked

    def _again(self, question: Question, asked: _Asked, at: Instant) -> None:
        asked.ask_at = at
        heapq.heappush(self._queue, (at, question))
