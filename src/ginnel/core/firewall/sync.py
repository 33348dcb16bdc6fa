"""`firewall sync`: keeps a named set of addresses what the live map, the feed and DNS say, whatever fails meanwhile.

Room: core. Inputs with explicit time go in, orders come out. Three rules hold at every step:

- The set gets what is new before it loses anything: no removal is ordered while an addition is missing in the set.
- An address goes when its last good answer is followed by two more without it, one at the least `linger` after the
  other (sync_vouched.py). What failed, is empty or refused takes nothing away, and nothing ever leaves the set empty.
- The last good state is ordered to be written down before the set changes by it, and is what the set is filled from at
  the start, before anybody has answered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from itertools import islice

from ginnel.core.firewall.sync_list import by_name, problem_of, questions_of
from ginnel.core.firewall.sync_names import Names
from ginnel.core.firewall.sync_patience import Patience
from ginnel.core.firewall.sync_set import HeldSet
from ginnel.core.firewall.sync_vouched import THE_LIST, Vouched
from ginnel.core.firewall.sync_words import (
    MAX_ADDRESSES,
    MAX_PER_ANSWER,
    Action,
    Answer,
    Apply,
    AskDns,
    AskList,
    Listing,
    Question,
    ReadSet,
    Save,
    Saved,
    Settings,
    Tell,
    Wanted,
    sorted_addresses,
)
from ginnel.words import Instant, IpAddress

SAVE_EVERY = 5.0
"""What changes nothing in the set is written down within this."""
LIST_RETRY = 5.0
UNLISTED = "it is no longer listed"


class Sync:
    """`saved`: what `Save` last ordered, `elapsed` seconds ago. Begin with `start`."""

    def __init__(self, settings: Settings, saved: Saved, elapsed: float, now: Instant) -> None:
        self._settings = settings
        self.serial = saved.serial
        self._names = Names(settings)
        self._vouched = Vouched()
        self._patience = Patience(settings, saved.rotating)
        self._set = HeldSet(now, settings.read_every)
        self._list_at = now
        self._list_open = False
        self._list_failures = 0
        self._is_listed = False
        self._needed: frozenset[str] = frozenset()
        self._save_at: Instant | None = None
        self._restore(saved, elapsed, now)

    def _restore(self, saved: Saved, elapsed: float, now: Instant) -> None:
        for question, addresses, ttl in saved.vouched:
            self._vouched.answer(question, self._fitting(addresses))
            self._patience.restore(question, ttl)
        self._vouched.restore(saved.leaving, elapsed, self._patience.most, now)

    # --- the list ----------------------------------------------------------------------------------------------

    def listed(self, listing: Listing, now: Instant) -> list[Action]:
        """A good answer of whoever has the list. One that names nobody, or too many, or is older, is none."""
        if problem := problem_of(listing, self.serial):
            return self.unlisted(problem, now)
        told: list[Action] = [Tell("list-back", "the list is there again")] if self._list_failures else []
        self._list_open, self._list_failures, self._is_listed = False, 0, True
        self._list_at = Instant(now + self._settings.list_every)
        self.serial = max(self.serial, listing.serial)
        self._follow(by_name(listing.wanted), now)
        return [*told, *self._next(now)]

    def unlisted(self, why: str, now: Instant) -> list[Action]:
        """It did not come, or is no good: what was known stays, and DNS is asked for it all the same."""
        self._list_open = False
        wait = min(LIST_RETRY * 2 ** min(self._list_failures, 10), self._settings.list_every)
        self._list_failures += 1
        self._list_at = Instant(now + wait)
        if not self._is_listed:
            self._names.wanted({question for question in self._vouched.answers if question.family}, now)
        told: list[Action] = [Tell("list-failed", why)] if self._list_failures == 1 else []
        return [*told, *self._next(now)]

    def _follow(self, wanted: dict[str, Wanted], now: Instant) -> None:
        """First what is new, then what went: an address that moved from one name to another never leaves."""
        questions = questions_of(wanted.values(), self._settings.families)
        self._needed = frozenset(one.name for one in wanted.values() if one.needed)
        gone: set[IpAddress] = set()
        for one in wanted.values():
            gone |= self._vouch(Question(one.name, 0), self._fitting(one.addresses), now)
        until = Instant(now + self._settings.linger)
        listed = {Question(name, 0) for name in wanted}
        most = Instant(now + self._patience.nameless)
        for question in self._vouched.known() - questions - listed - {THE_LIST}:
            self._patience.forget(question)
            self._vouched.hand_over(question, until, most, UNLISTED)
            self._changed(now)
        if new := {question for question in questions if question not in self._names}:
            self._vouched.hand_back(new, until)
        self._names.wanted(questions, now)
        self._vouched.confirm(THE_LIST, now)
        self._leave(gone, THE_LIST, until, UNLISTED, now)

    # --- DNS ---------------------------------------------------------------------------------------------------

    def resolved(self, question: Question, answer: Answer, now: Instant) -> list[Action]:
        """What DNS said. Nothing at all, or something that is refused, takes nothing away."""
        if not self._names.is_open(question):
            return self._next(now)
        found = self._fitting(answer.addresses)
        if answer.refused and not found:
            return self.unresolved(question, f"refused: {', '.join(answer.refused[:3])}", now)
        known = self._vouched.answers.get(question, frozenset())
        kept = found | known if answer.refused or not found else found
        if len(kept) > MAX_PER_ANSWER:
            return self.unresolved(question, f"refused: {len(kept)} addresses are too many", now)
        if self._is_full(kept):
            return self._too_much(question, answer, now)
        told: list[Action] = []
        if answer.refused:
            told.append(Tell("dns-refused", f"{question}: refused {', '.join(answer.refused[:3])}"))
        if self._names.heard(question, answer.ttl, now):
            told.append(Tell("dns-back", f"{question} is answered again"))
        # An answer without addresses says nothing of how long the old ones may still be held.
        self._learn(question, kept, answer.ttl if found else self._patience.ttl(question, answer.ttl), now)
        if found and not answer.refused:
            self._vouched.confirm(question, now)
            self._wake_for_removals(now)
        return [*told, *self._next(now)]

    def unresolved(self, question: Question, why: str, now: Instant) -> list[Action]:
        """No answer, or one that is of no use: the last good one stays."""
        if not self._names.is_open(question):
            return self._next(now)
        first = self._names.failed(question, now)
        told: list[Action] = [Tell("dns-failed", f"{question}: {why}; its last answer stays")] if first else []
        return [*told, *self._next(now)]

    def _learn(self, question: Question, addresses: frozenset[IpAddress], ttl: float, now: Instant) -> None:
        left = self._vouched.left_by(question)
        stays = self._patience.heard(question, ttl, many=len(left) + len(addresses) > MAX_PER_ANSWER)
        if not addresses.isdisjoint(left):
            self._patience.returned(question, stays)
        gone = self._vouch(question, addresses, now)
        self._leave(gone, question, Instant(now + stays), f"it left the answers for {question}", now)

    def _is_full(self, addresses: frozenset[IpAddress]) -> bool:
        """Whether there is no room for those of them that are new."""
        if len(self._vouched) + len(self._vouched.leaving) + len(addresses) <= MAX_ADDRESSES:
            return False
        known = {*self._vouched.must, *self._vouched.leaving}
        return bool(addresses - known) and len(known | addresses) > MAX_ADDRESSES

    def _too_much(self, question: Question, answer: Answer, now: Instant) -> list[Action]:
        """What it does not name any longer goes all the same, or there would never be room again."""
        if not answer.refused:
            self._vouched.confirm(question, now, named=answer.addresses)
            self._wake_for_removals(now)
        return self.unresolved(question, f"there is no room for it: the set may hold {MAX_ADDRESSES} addresses", now)

    # --- both --------------------------------------------------------------------------------------------------

    def _fitting(self, addresses: Iterable[IpAddress]) -> frozenset[IpAddress]:
        return frozenset(ip for ip in addresses if ip.version in self._settings.families)

    def _vouch(self, question: Question, addresses: frozenset[IpAddress], now: Instant) -> frozenset[IpAddress]:
        """Gives what nobody vouches for any longer."""
        if self._vouched.answers.get(question) == addresses:
            return frozenset()
        gone = self._vouched.answer(question, addresses)
        self._changed(now)
        return gone

    def _leave(self, gone: Collection[IpAddress], question: Question, until: Instant, why: str, now: Instant) -> None:
        if gone:
            self._vouched.leave(gone, question, until, why)
            self._changed(now)
        self._wake_for_removals(now)

    def _changed(self, now: Instant) -> None:
        self._set.changed(now)
        if self._save_at is None:
            self._save_at = Instant(now + SAVE_EVERY)

    def _wake_for_removals(self, now: Instant) -> None:
        if any(True for _ in self._vouched.may_go(strangers=True)):
            self._set.changed(now)

    # --- the set -----------------------------------------------------------------------------------------------

    def held(self, found: frozenset[IpAddress], now: Instant) -> list[Action]:
        """What stands in the set."""
        told: list[Action] = [Tell("set-back", "the set can be read again")] if self._set.was_read(found, now) else []
        self._vouched.strangers(found, Instant(now + self._settings.linger))
        actions = [*told, *self._next(now)]
        self._set.fresh = False
        return actions

    def unread(self, why: str, now: Instant) -> list[Action]:
        """It could not be read."""
        told: list[Action] = [Tell("set-failed", why)] if self._set.went_wrong(now) else []
        return [*told, *self._next(now)]

    def applied(self, now: Instant) -> list[Action]:
        """The one open order was carried out."""
        if self._set.open is not None and self._set.open.removes:
            for address in self._set.open.removes:
                self._vouched.leaving.pop(address, None)
            self._changed(now)
        self._set.was_applied(now)
        return self._next(now)

    def not_applied(self, why: str, now: Instant) -> list[Action]:
        """It failed, and may have been carried out in part."""
        return self.unread(why, now)

    # --- time --------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> list[Action]:
        return self._next(now)

    def tick(self, now: Instant) -> list[Action]:
        return self._next(now)

    def next_timeout(self) -> Instant | None:
        times = (
            None if self._list_open else self._list_at,
            self._names.next_timeout(),
            self._set.next_read(),
            self._set.touch_at(more=bool(self._names.open)),
            self._save_at,
        )
        return min((time for time in times if time is not None), default=None)

    def busy(self, now: Instant) -> bool:
        """Whether the first answer to something is awaited, or the set can be changed at once. What is asked again does
        not count: with very many names some are always due."""
        touch = self._set.touch_at(more=self._names.waiting())
        waits = self._list_open or self._names.waiting() or self._set.reading or self._set.open is not None
        return bool(waits or (touch is not None and touch <= now))

    def state(self, now: Instant) -> Saved:
        """The last good state as it is now."""
        vouched = tuple(
            (question, addresses, self._patience.ttl(question, self._settings.linger))
            for question, addresses in sorted(self._vouched.answers.items())
            if addresses
        )
        return Saved(self.serial, vouched, self._vouched.saved(now), self._patience.saved())

    def _next(self, now: Instant) -> list[Action]:
        """What is due, in the order in which it is to be performed."""
        actions: list[Action] = []
        change = self._change(now)
        if self._set.wants_reading(now):
            self._set.reading = True
            actions.append(ReadSet())
        if not self._list_open and self._list_at <= now:
            self._list_open = True
            actions.append(AskList())
        actions += [AskDns(question) for question in self._names.due(now)]
        if self._save_at is not None and (change is not None or self._save_at <= now):
            self._save_at = None
            actions.append(Save(self.state(now)))
        return [*actions, change] if change is not None else actions

    def _change(self, now: Instant) -> Apply | None:
        touch = self._set.touch_at(more=bool(self._names.open) and not self._set.fresh)
        if touch is None or touch > now or self._set.held is None:
            return None
        change = self._missing(self._set.held, now) or self._superfluous(self._set.held, now)
        self._set.open, self._set.changed_at = change, None
        return change

    def _missing(self, held: frozenset[IpAddress], now: Instant) -> Apply | None:
        missing = {*self._vouched.must, *self._vouched.staying(now)} - held
        adds = {ip: self._vouched.why(ip) for ip in sorted_addresses(missing)[: self._settings.batch]}
        return Apply(adds=adds) if adds else None

    def _superfluous(self, held: frozenset[IpAddress], now: Instant) -> Apply | None:
        """Only where everything that must be there is there, as just read: somebody may have emptied it meanwhile."""
        if not len(self._vouched):
            return None
        may_go = list(self._vouched.may_go(strangers=self._knows_all()))
        for address in may_go:
            if address not in held:
                del self._vouched.leaving[address]
        removes = {ip: self._vouched.why_not(ip) for ip in islice(may_go, self._settings.batch) if ip in held}
        if removes and not self._set.fresh:
            self._set.read_at = now
            return None
        return Apply(removes=removes) if removes else None

    def _knows_all(self) -> bool:
        """Whether everything that the list names has been asked for and answered: before, a stranger in the set may be
        an address of ours that we have forgotten."""
        known = {question.name for question, addresses in self._vouched.answers.items() if addresses}
        return self._is_listed and not self._names.unheard() and known >= self._needed

    # --- numbers -----------------------------------------------------------------------------------------------

    def numbers(self) -> dict[str, float]:
        """For whoever watches: sizes, and what fails now."""
        held = self._set.held
        return {
            "questions": len(self._names),
            "questions.failing": len(self._names.failing()),
            "addresses.wanted": len(self._vouched),
            "addresses.leaving": sum(1 for _ in self._vouched.left()),
            "addresses.held": -1 if held is None else len(held),
            "list.failing": self._list_failures,
            "set.failing": self._set.failures,
            "serial": self.serial,
        }

    def failing(self) -> list[str]:
        return [str(question) for question in self._names.failing()]
