"""A node asks, by way of the server, what a peer knows of the way between them: for a pair that no packet connects.

Room: core. Only for two that see each other, only so often, and the answer counts only from the peer that was asked
(docs/protocol/doctor.md).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ginnel.core.node.bucket import TokenBucket
from ginnel.words import Instant, NodeId

BURST, RATE = 5.0, 0.2  # of one asker
OPEN, OPEN_OF_ONE = 256, 2
PATIENCE = 1.4  # seconds until an answer
ASKERS_KEPT = 4096


@dataclass(frozen=True, slots=True)
class Asked:
    """`token`: what the answer's path ends in."""

    token: str
    asker: NodeId
    peer: NodeId


class NotAsked(Exception):
    """`status` as of HTTP, and one line."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


class PairQuestions:
    """`sees`: whether the policy lets the first see the second."""

    def __init__(self, entropy: Callable[[int], bytes], sees: Callable[[NodeId, NodeId], bool]) -> None:
        self._entropy = entropy
        self._sees = sees
        self._open: dict[str, Asked] = {}
        self._limits: dict[NodeId, TokenBucket] = {}

    def ask(self, asker: NodeId, peer: NodeId, now: Instant) -> Asked:
        """Raises NotAsked; a peer that may not be seen is as one that is not there."""
        if asker == peer or not (self._sees(asker, peer) and self._sees(peer, asker)):
            raise NotAsked(404, "no such peer")
        mine = sum(asked.asker == asker for asked in self._open.values())
        if mine >= OPEN_OF_ONE or len(self._open) >= OPEN or not self._limit(asker).take(now):
            raise NotAsked(429, "asked too often: try again in a minute")
        asked = Asked(self._entropy(16).hex(), asker, peer)
        self._open[asked.token] = asked
        return asked

    def answered(self, token: str, by: NodeId) -> bool:
        """Whether that was asked of this node, and not answered before."""
        asked = self._open.get(token)
        if asked is None or asked.peer != by:
            return False
        del self._open[token]
        return True

    def over(self, asked: Asked) -> None:
        """Nobody waits for it any more."""
        self._open.pop(asked.token, None)

    def _limit(self, asker: NodeId) -> TokenBucket:
        bucket = self._limits.pop(asker, None) or TokenBucket(BURST, RATE)
        self._limits[asker] = bucket
        if len(self._limits) > ASKERS_KEPT:
            del self._limits[next(iter(self._limits))]
        return bucket
