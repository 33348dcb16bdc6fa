"""A machine woken whenever it wants to be. One that wants it at the same instant for ever fails, and does not hang."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from ginnel.words import Instant

Done_co = TypeVar("Done_co", covariant=True)
MOST = 10_000


class Machine(Protocol[Done_co]):
    def next_timeout(self) -> Instant | None: ...
    def tick(self, now: Instant) -> list[Done_co]: ...


def ticks(machine: Machine[Done_co], until: float) -> Iterator[tuple[Instant, list[Done_co]]]:
    """Each tick that is due by then, and what it did."""
    for _ in range(MOST):
        at = machine.next_timeout()
        if at is None or at > until:
            return
        yield at, machine.tick(at)
    raise AssertionError(f"it never rests: after {MOST} ticks it wants another one at {machine.next_timeout()}")
