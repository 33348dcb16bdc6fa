"""Telling the secondaries that the zone changed (RFC 1996): until they say that they heard, or for a while.

Room: core. Message ids come from outside.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ginnel.wire.dns import NOTIFY, QR, notify_bytes
from ginnel.words import Endpoint, Instant

FIRST_WAIT = 2.0
TRIES = 6
"""Waits of 2, 4, 8, 16, 32 and 64 s; then they follow by the SOA record's refresh time."""


@dataclass(frozen=True, slots=True)
class SendNotify:
    to: Endpoint
    message: bytes


@dataclass(frozen=True, slots=True)
class GaveUp:
    """A secondary did not answer; it will follow within the zone's refresh time, if at all."""

    to: Endpoint


@dataclass(slots=True)
class _Open:
    ident: int
    tries: int
    due: Instant


class Notifier:
    """`new_id`: a number of 16 bits that nobody can guess, for each message."""

    def __init__(self, origin: bytes, secondaries: tuple[Endpoint, ...], new_id: Callable[[], int]) -> None:
        self._origin = origin
        self._secondaries = secondaries
        self._new_id = new_id
        self._open: dict[Endpoint, _Open] = {}

    def changed(self, now: Instant) -> list[SendNotify]:
        """A new serial; what was under way for the last one is overtaken."""
        self._open = {to: _Open(self._new_id(), 0, now) for to in self._secondaries}
        return [self._send(to, now) for to in self._secondaries]

    def receive(self, source: Endpoint, packet: bytes) -> bool:
        """Whether it is the answer to what is open. What it says matters little: it has heard."""
        found = self._open.get(source)
        if found is None or len(packet) < 12 or int.from_bytes(packet[:2], "big") != found.ident:
            return False
        flags = int.from_bytes(packet[2:4], "big")
        if not flags & QR or flags >> 11 & 15 != NOTIFY:
            return False
        del self._open[source]
        return True

    def tick(self, now: Instant) -> list[SendNotify | GaveUp]:
        actions: list[SendNotify | GaveUp] = []
        for to, found in list(self._open.items()):
            if now < found.due:
                continue
            if found.tries >= TRIES:
                del self._open[to]
                actions.append(GaveUp(to))
            else:
                actions.append(self._send(to, now))
        return actions

    def next_timeout(self) -> Instant | None:
        return min((found.due for found in self._open.values()), default=None)

    def _send(self, to: Endpoint, now: Instant) -> SendNotify:
        found = self._open[to]
        found.due = Instant(now + FIRST_WAIT * 2**found.tries)
        found.tries += 1
        return SendNotify(to, notify_bytes(found.ident, self._origin))
