"""How long an address stays in the set after an answer left it out.

Room: core. Whoever asked before may hold the old answer for the old one's TTL, so that and `linger` are the least. Load
balancers answer with another part of their addresses each time: what they left out comes back. A name that does so for
the second time gets twice the time, again and again up to a day, or the set would flap with its answers.
"""

from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.firewall.sync_words import Question, Settings

STAYS_MOST = 86400.0


class Patience:
    """In seconds. `ttl`: of each question's last answer with addresses, within the bounds of the settings."""

    def __init__(self, settings: Settings, rotating: Iterable[tuple[Question, float]] = ()) -> None:
        self._settings = settings
        self._ttl: dict[Question, float] = {}
        self._rotating = {question: min(stays, STAYS_MOST) for question, stays in rotating}

    @property
    def most(self) -> float:
        return max(self.nameless, STAYS_MOST)

    def ttl(self, question: Question, default: float) -> float:
        return self._ttl.get(question, default)

    def restore(self, question: Question, ttl: float) -> None:
        self._ttl[question] = ttl

    @property
    def nameless(self) -> float:
        """The longest, for what is left of a name that is listed no more."""
        return max(self._settings.linger, self._settings.ttl_most)

    def heard(self, question: Question, ttl: float, *, many: bool) -> float:
        """How long stays what this answer leaves out. `many`: so many stay already that it is no load balancer, but
        somebody who fills the set."""
        if many:
            self._rotating.pop(question, None)
        bounded = self._settings.bounded(ttl)
        last = self._ttl.get(question, bounded)
        self._ttl[question] = bounded
        return max(last, self._settings.linger, self._rotating.get(question, 0.0))

    def returned(self, question: Question, stayed: float) -> None:
        """An address came back within the time that it `stayed`. Once is a lie, or a change of mind."""
        again = question in self._rotating
        self._rotating[question] = min(2 * stayed if again else stayed, STAYS_MOST)

    def forget(self, question: Question) -> None:
        self._ttl.pop(question, None)
        self._rotating.pop(question, None)

    def saved(self) -> tuple[tuple[Question, float], ...]:
        return tuple(sorted(self._rotating.items()))
