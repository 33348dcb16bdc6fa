"""Two applications that talk through the mesh, and what they may expect of it all the while.

Room: testing. Each step asks one question and looks back:

    connected   while a path exists, answers come: not SILENCE and a dozen questions without one
    direct      while a direct path is possible, both ends use one, or the one that speaks: not DIRECT_WITHIN without
                it, nor longer than a search takes where that is what finds it (oracle_search.py)
    honest      no path counts as direct where none can be

Both times begin anew when something befalls the network (`Watch.settled_at`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ginnel.testing.inner import Inner
from ginnel.testing.oracle_search import Search
from ginnel.words import Instant

if TYPE_CHECKING:
    from ginnel.testing.facts import Facts
    from ginnel.testing.node import SimNode, World

QUESTION, ANSWER, STATEMENT = b"question", b"answer", b"statement"
PORT = 7000
FIRST_SOURCE_PORT = 20000
SILENCE = 8.0
QUESTIONS = 12  # of which at least one is answered, were one in ten packets lost
TRUSTED_ON = 6.5  # a path that gives no more answers
DIRECT_WITHIN = 4.5  # a trial of the path lasts 3 s, and 1 s more
DIRECT_WITHIN_UNDER_LOSS = 50.0  # one in ten lost: now and then a path is left for the 30 s that one is shunned


class Conversation:
    """From `a` to `b`: a question each `every` seconds until `end`. `facts`: check what is expected; None: don't."""

    def __init__(
        self,
        world: World,
        a: SimNode,
        b: SimNode,
        *,
        number: int,
        every: float,
        end: float,
        one_way: bool,
        facts: Facts | None,
    ) -> None:
        self.a, self.b = a, b
        self.asked = self.answered = 0
        self.direct_after: float | None = None
        """Seconds until both ends used a direct path."""
        self._world = world
        self._facts = facts
        self._every = every
        self._end = end
        self._body = STATEMENT if one_way else QUESTION
        self._source_port = FIRST_SOURCE_PORT + number
        self._began = world.clock.now
        self._last_answer = world.clock.now
        self._direct_at = world.clock.now
        self._unanswered = 0
        self._were_direct = False
        self._search = facts.search_patience(a, b) if facts is not None else None
        a.listeners[self._source_port] = self._heard

    def step(self) -> None:
        now = self._world.clock.now
        if now >= self._end:
            return
        if self._facts is not None:
            self._look_back(self._facts, now)
        if not self.a.host.asleep:
            self.asked += 1
            self._unanswered += 1
            self.a.send(self.b, self._body, port=PORT, source_port=self._source_port)
        self._world.clock.after(self._every, self.step)

    def stop(self) -> None:
        self._end = self._world.clock.now

    def _patience(self, search: Search | None) -> float:
        """For finding a path, or another one."""
        if search is None or self._search is None:
            return self._usual_patience()
        found_before = self.direct_after is not None
        return self._search.within(search) + (self._usual_patience() if found_before else DIRECT_WITHIN)

    def _usual_patience(self) -> float:
        return DIRECT_WITHIN_UNDER_LOSS if self._world.network.loss else DIRECT_WITHIN

    def _heard(self, _answer: Inner) -> None:
        self.answered += 1
        self._unanswered = 0
        self._last_answer = self._world.clock.now

    def _look_back(self, facts: Facts, now: Instant) -> None:
        direct = facts.direct(self.a, self.b) and (self._body == STATEMENT or facts.direct(self.b, self.a))
        if direct and self.direct_after is None:
            self.direct_after = now - self._began
        if facts.relayed(self.a, self.b):
            self._were_direct = direct
        if self._body == QUESTION:
            self._connected(facts, now)
        self._is_direct(facts, now, direct=direct)

    def _connected(self, facts: Facts, now: Instant) -> None:
        settled = self._world.watch.settled_at
        permitted = self._world.control.permits(self.a, self.b, PORT)  # else only what flowed before goes on
        if not permitted or now <= settled or not facts.must_talk(self.a, self.b, were_direct=self._were_direct):
            self._last_answer, self._unanswered = max(now, settled), 0
        elif now - self._last_answer > SILENCE and self._unanswered >= QUESTIONS:
            silent = now - self._last_answer
            self._world.watch.broken(
                f"{self.a.name} has no answer of {self.b.name} for {silent:.1f} s, though a path exists"
            )

    def _is_direct(self, facts: Facts, now: Instant, *, direct: bool) -> None:
        search = facts.must_be_found(self.a, self.b)
        must = facts.awake(self.a, self.b) and (search is not None or facts.must_be_direct(self.a, self.b))
        if self._search is not None:
            self._search.look(now, direct=direct)
        late = now > self._world.watch.settled_at + TRUSTED_ON
        if direct and late and not facts.may_be_direct(self.a, self.b):
            self._world.watch.broken(f"{self.a.name} and {self.b.name} are direct, where no packet can pass")
        if direct or not must:
            self._direct_at = now
        since = now - max(self._direct_at, self._world.watch.settled_at)
        if since > self._patience(search):
            by = f" by {search.name.lower().replace('_', ' ')}" if search is not None else ""
            self._world.watch.broken(
                f"{self.a.name} and {self.b.name} are relayed for {since:.0f} s, though a direct path is possible{by}"
            )
