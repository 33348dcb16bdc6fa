"""What happened between us and one peer: who asked where, what was answered, which way was taken and why it was left.

Room: core. For people who ask why a pair is relayed (docs/doctor.md); nothing is decided by it. Bounded: repetitions
are counted, not kept, and the oldest goes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum

from ginnel.core.node.home_region import NO_REGION
from ginnel.words import Endpoint, Instant, RegionId

NOTES_KEPT = 64
LOOKED_BACK = 16  # notes, for the same thing before
WAYS_KEPT = 64


class What(StrEnum):
    """In words for people: `asked 192.0.2.7:41641`."""

    ASKED = "asked"
    ANSWERED = "answered from"
    HEARD = "was asked from"
    CALLED = "called by relay"
    WAS_CALLED = "was called by relay"
    DIRECT = "took the direct way"
    RELAYED = "fell back to the relay"
    CONVICTED = "gave up the way"
    REFUSED = "was refused by this machine"


MILESTONES = (What.DIRECT, What.RELAYED, What.CONVICTED)
"""Repetitions before one are others than those after it."""


@dataclass(slots=True)
class Note:
    """`times`: how often, from `first` to `last`. `why`: in words, "" where `what` says it all."""

    what: What
    endpoint: Endpoint | None
    first: Instant
    last: Instant
    times: int = 1
    why: str = ""


@dataclass(slots=True)
class Tally:
    """One endpoint: pings sent there, pongs from there, the peer's pings from there. `latency`: of the last pong."""

    asked: int = 0
    answered: int = 0
    heard: int = 0
    latency: float | None = None


@dataclass(slots=True)
class PathHistory:
    """`heard_calls`, `sent_calls`: call-me-maybes, in and out."""

    notes: deque[Note] = field(default_factory=lambda: deque(maxlen=NOTES_KEPT))
    sent_calls: int = 0
    heard_calls: int = 0
    _ways: dict[Endpoint, Tally] = field(default_factory=dict)
    _in_use: Endpoint | None = None

    def ways(self) -> Iterator[tuple[Endpoint, Tally]]:
        return iter(self._ways.items())

    # --- disco ---

    def asked(self, endpoint: Endpoint, now: Instant, *, told: bool) -> None:
        """`told`: it belongs into the story; a heartbeat does not."""
        self._tally(endpoint).asked += 1
        if told:
            self._note(What.ASKED, endpoint, now)

    def answered(self, endpoint: Endpoint, latency: float, now: Instant, *, told: bool) -> None:
        tally = self._tally(endpoint)
        tally.answered, tally.latency = tally.answered + 1, latency
        if told:
            self._note(What.ANSWERED, endpoint, now)

    def heard(self, endpoint: Endpoint, now: Instant) -> None:
        """The peer's ping came from there."""
        self._tally(endpoint).heard += 1
        if endpoint != self._in_use:
            self._note(What.HEARD, endpoint, now)

    def called(self, now: Instant) -> None:
        self.sent_calls += 1
        self._note(What.CALLED, None, now)

    def was_called(self, now: Instant) -> None:
        self.heard_calls += 1
        self._note(What.WAS_CALLED, None, now)

    # --- ways ---

    def steered(self, endpoint: Endpoint | None, region: RegionId, now: Instant) -> None:
        """Only the first use of a way, and its loss, are news; that a relay runs beside it is not."""
        if endpoint == self._in_use:
            return
        self._in_use = endpoint
        if endpoint is not None:
            self._note(What.DIRECT, endpoint, now)
        elif region != NO_REGION:
            self._note(What.RELAYED, None, now)

    def convicted(self, endpoint: Endpoint, why: str, now: Instant) -> None:
        self._note(What.CONVICTED, endpoint, now, why)

    def refused(self, endpoint: Endpoint, now: Instant) -> None:
        """This machine's own kernel would not send there."""
        self._note(What.REFUSED, endpoint, now)

    # --- inside ---

    def _tally(self, endpoint: Endpoint) -> Tally:
        tally = self._ways.pop(endpoint, None) or Tally()
        self._ways[endpoint] = tally  # the last in use goes last
        if len(self._ways) > WAYS_KEPT:
            del self._ways[next(iter(self._ways))]
        return tally

    def _note(self, what: What, endpoint: Endpoint | None, now: Instant, why: str = "") -> None:
        for back in range(1, min(LOOKED_BACK, len(self.notes)) + 1):
            note = self.notes[-back]
            if (note.what, note.endpoint) == (what, endpoint):
                note.last, note.times = now, note.times + 1
                return
            if note.what in MILESTONES:
                break
        self.notes.append(Note(what, endpoint, now, now, why=why))
