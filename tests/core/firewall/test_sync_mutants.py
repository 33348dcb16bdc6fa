"""Machines that are wrong in one thing each: the oracle of the random runs finds all of them."""

from collections.abc import Collection

import pytest

from ginnel.core.firewall.sync import Sync
from ginnel.core.firewall.sync_set import HeldSet
from ginnel.core.firewall.sync_vouched import Vouched
from ginnel.core.firewall.sync_words import Action, Answer, Apply, Listing, Question, Saved, Settings
from ginnel.words import Instant, IpAddress
from tests.core.firewall.sync_oracle import Broken
from tests.core.firewall.sync_world import World

SEEDS = 60


class BelievesNothing(Sync):
    """An empty answer takes the addresses away."""

    def resolved(self, question: Question, answer: Answer, now: Instant) -> list[Action]:
        if not answer.addresses and not answer.refused and self._names.is_open(question):
            self._learn(question, frozenset(), answer.ttl, now)
            self._vouched.confirm(question, now)
        return super().resolved(question, answer, now)


class BelievesRefused(Sync):
    """What is left of a refused answer counts as all."""

    def resolved(self, question: Question, answer: Answer, now: Instant) -> list[Action]:
        return super().resolved(question, Answer(answer.addresses, answer.ttl), now)


class BelievesOldLists(Sync):
    """An older feed is followed."""

    def listed(self, listing: Listing, now: Instant) -> list[Action]:
        self.serial = min(self.serial, listing.serial)
        return super().listed(listing, now)


class ForgetsAtStart(Sync):
    """The state on disk is not read."""

    def __init__(self, settings: Settings, saved: Saved, elapsed: float, now: Instant) -> None:
        super().__init__(settings, Saved(), elapsed, now)


class Confirmed(Vouched):
    """One answer without an address is enough."""

    def leave(self, gone: Collection[IpAddress], question: Question, until: Instant, why: str) -> None:
        super().leave(gone, question, until, why)
        for address in gone:
            self.leaving[address][question].confirmed = True


class RemovesAtOnce(Sync):
    def __init__(self, settings: Settings, saved: Saved, elapsed: float, now: Instant) -> None:
        super().__init__(settings, saved, elapsed, now)
        vouched = self._vouched
        self._vouched = Confirmed()
        self._vouched.answers, self._vouched.leaving = vouched.answers, vouched.leaving
        self._vouched._counts, self._vouched._why = vouched._counts, vouched._why


class NeverRemoves(Sync):
    def _superfluous(self, held: frozenset[IpAddress], now: Instant) -> Apply | None:
        return None


class RemovesUnseen(Sync):
    """It takes out of a set that it has not just read."""

    def _superfluous(self, held: frozenset[IpAddress], now: Instant) -> Apply | None:
        self._set.fresh = True
        return super()._superfluous(held, now)


class NeverReadsAgain(HeldSet):
    def wants_reading(self, now: Instant) -> bool:
        return self.held is None and super().wants_reading(now)

    def next_read(self) -> Instant | None:
        return super().next_read() if self.held is None else None


class TrustsItsMemory(Sync):
    def __init__(self, settings: Settings, saved: Saved, elapsed: float, now: Instant) -> None:
        super().__init__(settings, saved, elapsed, now)
        self._set = NeverReadsAgain(now, settings.read_every)


@pytest.mark.parametrize(
    "machine",
    [BelievesNothing, BelievesRefused, BelievesOldLists, ForgetsAtStart, RemovesAtOnce, NeverRemoves, RemovesUnseen,
     TrustsItsMemory],
)  # fmt: skip
def test_a_machine_that_is_wrong_is_found(machine: type[Sync]) -> None:
    for seed in range(SEEDS):
        try:
            World(seed, machine).play()
        except Broken:
            return
    pytest.fail(f"{SEEDS} seeds found nothing wrong")
