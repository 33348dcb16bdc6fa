"""Side sockets of searches that succeeded: the one that a path goes by stays open, the others for a little while.

Room: core.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ginnel.core.node.actions import CloseSides
from ginnel.words import Instant, NodeKey

LINGER = 2.0  # of sockets that nothing came to
KEPT = 15.0  # of those that the peer's disco came to: it may send there, whichever we send from


@dataclass(slots=True)
class Kept:
    peer: NodeKey
    until: Instant


class KeptSockets:
    """`in_use`: the side socket by which a peer's path goes, 0: none."""

    def __init__(self, in_use: Callable[[NodeKey], int]) -> None:
        self._in_use = in_use
        self._held: dict[int, Kept] = {}

    def __contains__(self, socket: int) -> bool:
        return socket in self._held

    def keep(self, sockets: Iterable[int], peer: NodeKey, now: Instant) -> None:
        for socket in sockets:
            self._held.setdefault(socket, Kept(peer, Instant(now + LINGER)))

    def heard(self, socket: int, now: Instant) -> None:
        """A peer's disco came to this side socket."""
        if (kept := self._held.get(socket)) is not None:
            kept.until = Instant(now + KEPT)

    def forget(self, peer: NodeKey) -> list[CloseSides]:
        """The peer is gone."""
        return self._close([socket for socket, kept in self._held.items() if kept.peer == peer])

    def release(self, now: Instant) -> list[CloseSides]:
        """Close what nobody uses any more."""
        done: list[int] = []
        for socket, kept in self._held.items():
            if kept.until <= now and self._in_use(kept.peer) == socket:
                kept.until = Instant(now + KEPT)
            elif kept.until <= now:
                done.append(socket)
        return self._close(done)

    def next_timeout(self) -> Instant | None:
        return min((kept.until for kept in self._held.values()), default=None)

    def _close(self, sockets: list[int]) -> list[CloseSides]:
        for socket in sockets:
            del self._held[socket]
        return [CloseSides(tuple(sockets))] if sockets else []
