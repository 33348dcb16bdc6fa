"""Which addresses must be in the set, which may still be, and which may go: the books of `firewall sync`.

Room: core. An address is vouched for by the list or by answers of DNS, maybe by several. Whoever stops naming it still
stands by it for its time, and then until one more good answer without it. It may go when nobody vouches for it and
nobody stands by it: so no single answer takes an address away, and none that failed does.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace

from ginnel.core.firewall.sync_words import Question, SavedLeaving, for_whom
from ginnel.words import Instant, IpAddress

THE_LIST = Question("", 0)
"""Who has to confirm that a name's addresses go when the name itself went, or that nobody names a stranger."""


@dataclass(slots=True)
class Leaving:
    """`until`: who vouched for it stands by it. `confirmed`: afterwards a good answer came without it. `of`: who is not
    asked now, in whose place the list stands by it."""

    until: Instant
    why: str
    stranger: bool = False
    of: frozenset[Question] = frozenset()
    confirmed: bool = False


class Vouched:
    """`answers`: the last good one to each question. `leaving`: by address, and by who stands by it.

    A map of 10,000 relays may be replaced by another: no answer looks at all that leaves. So who stands by what, and
    what may be confirmed by all, are kept as well; both may hold more than is true, and are looked through when used.
    """

    def __init__(self) -> None:
        self.answers: dict[Question, frozenset[IpAddress]] = {}
        self.leaving: dict[IpAddress, dict[Question, Leaving]] = {}
        self._stands_by: dict[Question, dict[IpAddress, None]] = {}
        self._confirmed: dict[IpAddress, None] = {}
        self._counts: Counter[IpAddress] = Counter()
        self._why: dict[IpAddress, Question] = {}

    @property
    def must(self) -> Iterable[IpAddress]:
        """What the set has to hold."""
        return self._counts.keys()

    def __len__(self) -> int:
        """How many addresses the set has to hold."""
        return len(self._counts)

    def why(self, address: IpAddress) -> str:
        """Why it is in the set."""
        if address not in self._counts:
            return f"{self.why_not(address)}; it stays for now"
        question = self._why[address]
        if address not in self.answers.get(question, ()):  # that one has let go since, another holds it
            question = next(question for question, held in self.answers.items() if address in held)
            self._why[address] = question
        return f"listed {for_whom(question.name)}" if question.family == 0 else f"an answer for {question}"

    def why_not(self, address: IpAddress) -> str:
        """Why it leaves: by whom it was named last."""
        return max(self.leaving[address].values(), key=lambda leaving: leaving.until).why

    # --- answers -------------------------------------------------------------------------------------------------

    def answer(self, question: Question, addresses: frozenset[IpAddress]) -> frozenset[IpAddress]:
        """A good answer takes the place of the last one. Gives what it names no longer."""
        before = self.answers.get(question, frozenset())
        self.answers[question] = addresses
        for address in addresses - before:
            self._counts[address] += 1
            self._why.setdefault(address, question)
            self._drop(address, question)
        return self._release(before - addresses)

    def _release(self, addresses: frozenset[IpAddress]) -> frozenset[IpAddress]:
        for address in addresses:
            self._counts[address] -= 1
            if not self._counts[address]:
                del self._counts[address]
                del self._why[address]
        return addresses

    def known(self) -> set[Question]:
        """Who has answered, or stands by something."""
        return {*self.answers, *self._stands_by}

    # --- leaving -------------------------------------------------------------------------------------------------

    def leave(self, gone: Iterable[IpAddress], question: Question, until: Instant, why: str) -> None:
        """`question` has to confirm that it names them no longer."""
        for address in gone:
            self._stand_by(address, question, Leaving(until, why))

    def _stand_by(self, address: IpAddress, question: Question, leaving: Leaving) -> None:
        by = self.leaving.setdefault(address, {})
        known = by.get(question)
        by[question] = replace(leaving, of=leaving.of | known.of) if known is not None and known.of else leaving
        self._stands_by.setdefault(question, {})[address] = None

    def left_by(self, question: Question) -> list[IpAddress]:
        """Addresses that `question` stands by."""
        noted = self._stands_by.pop(question, {})
        found = [address for address in noted if question in self.leaving.get(address, ())]
        if found:
            self._stands_by[question] = dict.fromkeys(found)
        return found

    def strangers(self, found: Iterable[IpAddress], until: Instant) -> None:
        """What stands in the set and nobody ever named."""
        for address in found:
            if address not in self._counts and address not in self.leaving:
                self._stand_by(address, THE_LIST, Leaving(until, "nobody names it", stranger=True))

    def confirm(self, question: Question, now: Instant, named: Collection[IpAddress] = ()) -> None:
        """A good answer came, and what it did not name it did not name. `named`: of one that is not taken up."""
        for address in self.left_by(question):
            leaving = self.leaving[address][question]
            if leaving.until > now or address in named:
                continue
            if address in self._counts:
                self._drop(address, question)  # others vouch for it, and will stand by it
            else:
                leaving.confirmed = True
                self._confirmed[address] = None

    def hand_over(self, question: Question, until: Instant, most: Instant, why: str) -> None:
        """The question is asked no more: the list has to confirm what it left behind, between `until` and `most`, and
        what it named, after `until`."""
        handed = self.left_by(question)
        self._stands_by.pop(question, None)
        for address in handed:
            leaving = self.leaving[address].pop(question)
            self._take_over(address, question, Instant(min(max(leaving.until, until), most)), leaving.why)
        for address in self._release(self.answers.pop(question, frozenset())):
            self._take_over(address, question, until, why)

    def _take_over(self, address: IpAddress, question: Question, until: Instant, why: str) -> None:
        self._stand_by(address, THE_LIST, Leaving(until, why, of=frozenset({question})))

    def hand_back(self, questions: Collection[Question], until: Instant) -> None:
        """They are asked again: each has to answer without what it named, the list knows nothing of that. Their time
        begins anew."""
        for address in self.left_by(THE_LIST):
            leaving = self.leaving[address][THE_LIST]
            if asked := leaving.of.intersection(questions):
                del self.leaving[address][THE_LIST]
                for question in asked:
                    self._stand_by(address, question, Leaving(max(leaving.until, until), leaving.why))

    def _drop(self, address: IpAddress, question: Question) -> None:
        by = self.leaving.get(address, {})
        by.pop(question, None)
        if not by or any(leaving.stranger for leaving in by.values()):
            self.leaving.pop(address, None)

    def left(self) -> Iterator[tuple[IpAddress, dict[Question, Leaving]]]:
        """What nobody vouches for, with who stands by it."""
        return ((address, by) for address, by in self.leaving.items() if address not in self._counts)

    def staying(self, now: Instant) -> Iterator[IpAddress]:
        """What left and is put back all the same where it is missing: its time is not over."""
        for address, by in self.left():
            if any(leaving.until > now and not leaving.stranger for leaving in by.values()):
                yield address

    def may_go(self, *, strangers: bool) -> Iterator[IpAddress]:
        """What is not confirmed by all comes again when the last of them confirms it."""
        for address in list(self._confirmed):
            by = self.leaving.get(address, {})
            if not by or address in self._counts or not all(leaving.confirmed for leaving in by.values()):
                del self._confirmed[address]
            elif strangers or not any(leaving.stranger for leaving in by.values()):
                yield address

    # --- over restarts -------------------------------------------------------------------------------------------

    def saved(self, now: Instant) -> tuple[SavedLeaving, ...]:
        return tuple(
            SavedLeaving(address, max(0.0, leaving.until - now), question, leaving.why, leaving.stranger, leaving.of)
            for address, by in self.leaving.items()
            for question, leaving in by.items()
        )

    def restore(self, leaving: Iterable[SavedLeaving], elapsed: float, most: float, now: Instant) -> None:
        """`most`: what a clock that was set back, or a damaged file, can make of the time."""
        for one in leaving:
            until = Instant(now + min(max(0.0, one.left - elapsed), most))
            self._stand_by(one.address, one.question, Leaving(until, one.why, one.stranger, one.of))
