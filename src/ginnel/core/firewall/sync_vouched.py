"""Which addresses must be in the set, which may still be, and which may go: the books of `firewall sync`.

Room: core. An address is vouched for by the list or by answers of DNS. One that nobody vouches for any longer is
leaving: it stays for its time, and then until whoever vouched for it has given one more good answer without it. So no
single answer takes an address away, and none that failed does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ginnel.core.firewall.sync_words import Question, SavedLeaving
from ginnel.words import Instant, IpAddress

THE_LIST = Question("", 0)
"""Who has to confirm that a name's addresses go when the name itself went, or that nobody names a stranger."""


@dataclass(slots=True)
class Leaving:
    """`until`: it stays before. `confirmed`: afterwards a good answer came without it."""

    until: Instant
    question: Question
    why: str
    stranger: bool = False
    confirmed: bool = False


class Vouched:
    """`must` is what the set has to hold."""

    def __init__(self) -> None:
        self.answers: dict[Question, frozenset[IpAddress]] = {}
        self.leaving: dict[IpAddress, Leaving] = {}
        self._counts: Counter[IpAddress] = Counter()
        self._why: dict[IpAddress, Question] = {}

    @property
    def must(self) -> Iterable[IpAddress]:
        return self._counts.keys()

    def __contains__(self, address: object) -> bool:
        return address in self._counts

    def __len__(self) -> int:
        """How many addresses the set has to hold."""
        return len(self._counts)

    def why(self, address: IpAddress) -> str:
        if address in self.leaving:
            return f"{self.leaving[address].why}; it stays for now"
        question = self._why[address]
        if address not in self.answers.get(question, ()):  # that one has let go since, another holds it
            question = next(question for question, held in self.answers.items() if address in held)
            self._why[address] = question
        return f"listed for {question.name}" if question.family == 0 else f"an answer for {question}"

    def answer(self, question: Question, addresses: frozenset[IpAddress]) -> frozenset[IpAddress]:
        """A good answer takes the place of the last one. Gives what nobody vouches for any longer."""
        before = self.answers.get(question, frozenset())
        self.answers[question] = addresses
        for address in addresses - before:
            self._counts[address] += 1
            self._why.setdefault(address, question)
            self.leaving.pop(address, None)
        return self._release(before - addresses)

    def forget(self, question: Question) -> frozenset[IpAddress]:
        """The question is asked no more. Gives what nobody vouches for any longer."""
        return self._release(self.answers.pop(question, frozenset()))

    def _release(self, addresses: frozenset[IpAddress]) -> frozenset[IpAddress]:
        for address in addresses:
            self._counts[address] -= 1
        gone = frozenset(address for address in addresses if not self._counts[address])
        for address in gone:
            del self._counts[address]
            del self._why[address]
        return gone

    def leave(self, gone: Iterable[IpAddress], question: Question, until: Instant, why: str) -> None:
        for address in gone:
            if address not in self._counts:
                self.leaving[address] = Leaving(until, question, why)

    def strangers(self, found: Iterable[IpAddress], until: Instant) -> None:
        """What stands in the set and nobody ever named."""
        for address in found:
            if address not in self._counts and address not in self.leaving:
                self.leaving[address] = Leaving(until, THE_LIST, "nobody names it", stranger=True)

    def confirm(self, question: Question, now: Instant) -> None:
        """A good answer came, and what it did not name it did not name."""
        for leaving in self.leaving.values():
            if leaving.question == question and leaving.until <= now:
                leaving.confirmed = True

    def hand_over(self, question: Question, until: Instant) -> None:
        """The question is asked no more: the list has to confirm what it left behind."""
        for leaving in self.leaving.values():
            if leaving.question == question:
                leaving.question, leaving.confirmed = THE_LIST, False
                leaving.until = max(leaving.until, until)

    def staying(self, now: Instant) -> Iterator[IpAddress]:
        """What left and is put back all the same where it is missing: its time is not over."""
        return (address for address, leaving in self.leaving.items() if leaving.until > now and not leaving.stranger)

    def may_go(self, *, strangers: bool) -> Iterator[IpAddress]:
        for address, leaving in self.leaving.items():
            if leaving.confirmed and (strangers or not leaving.stranger):
                yield address

    def saved(self, now: Instant) -> tuple[SavedLeaving, ...]:
        """Strangers are found again in the set itself."""
        return tuple(
            SavedLeaving(address, max(0.0, leaving.until - now), leaving.question, leaving.why)
            for address, leaving in self.leaving.items()
            if not leaving.stranger
        )

    def restore(self, leaving: Iterable[SavedLeaving], elapsed: float, most: float, now: Instant) -> None:
        """`most`: what a clock that was set back, or a damaged file, can make of the time."""
        for one in leaving:
            if one.address not in self._counts:
                until = Instant(now + min(max(0.0, one.left - elapsed), most))
                self.leaving[one.address] = Leaving(until, one.question, one.why)
