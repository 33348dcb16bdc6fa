"""Another home for nodes whose home region some of their peers do not reach.

Room: core, sans-IO. The map of such a node says of those regions that they are no homes, so that it chooses the best of
the others by itself. Only on a node's own word, not by what is missing from reports. That word may be a lie, so it is
bounded what it can do: few nodes are moved at once, fewer for the sake of one, small groups alone, nobody to a region
that is much farther than its home, and a move lasts for an hour at least, whatever anybody says in between.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ginnel.core.control.partitions import Partition, Sees
from ginnel.words import Instant, NodeId

MAX_MOVED = 64
MAX_GROUP = 16  # nodes of one home: moving more for the sake of a few would burden another region
MAX_BY_ONE = 8  # nodes that are moved because this one says that it does not reach their home
MAX_FARTHER = 0.1  # seconds
MAX_BLOCKED = 64  # nodes that do not reach it; more of them point at the relay
HOLD = 3600.0


@dataclass(frozen=True, slots=True)
class Move:
    """`away`: regions that are not to be the node's home. `by`: the node on whose account it is."""

    away: frozenset[int]
    since: Instant
    by: NodeId


@dataclass(slots=True)
class Rehome:
    moved: dict[NodeId, Move] = field(default_factory=dict)

    @property
    def away(self) -> Mapping[NodeId, frozenset[int]]:
        return {node: move.away for node, move in self.moved.items()}

    def decide(  # noqa: PLR0917
        self,
        partitions: Sequence[Partition],
        sees: Sees,
        latency: Callable[[NodeId], Mapping[int, float]],
        lost_to: Callable[[NodeId], frozenset[int]],
        homes: frozenset[int],
        now: Instant,
    ) -> bool:
        """`latency`: what a node reaches; `lost_to`: what it does not; `homes`: regions that may be one. True if
        anybody's map is another now."""
        before = self.away
        open_regions = {partition.region for partition in partitions}
        self.moved = {
            node: move
            for node, move in self.moved.items()
            if now - move.since < HOLD or not move.away.isdisjoint(open_regions)
        }
        for partition in partitions:
            blocked = [lost.node for lost in partition.lost if lost.says]
            if len(partition.homed) <= MAX_GROUP and 0 < len(blocked) <= MAX_BLOCKED:
                self._move(partition, blocked, sees, latency, lost_to, homes, now)
        return self.away != before

    def _move(  # noqa: PLR0917
        self,
        partition: Partition,
        blocked: Sequence[NodeId],
        sees: Sees,
        latency: Callable[[NodeId], Mapping[int, float]],
        lost_to: Callable[[NodeId], frozenset[int]],
        homes: frozenset[int],
        now: Instant,
    ) -> None:
        for node in partition.homed:
            if node in self.moved or len(self.moved) >= MAX_MOVED:
                continue
            peers = [other for other in blocked if other != node and sees(other, node) and self._may_ask(other)]
            away = lost_to(node) | _union(map(lost_to, peers)) | {partition.region}
            if peers and _has_another(latency(node), partition.region, homes - away):
                self.moved[node] = Move(away & homes, now, peers[0])

    def _may_ask(self, node: NodeId) -> bool:
        return sum(move.by == node for move in self.moved.values()) < MAX_BY_ONE


def _has_another(latency: Mapping[int, float], home: int, regions: frozenset[int]) -> bool:
    """Whether one of the regions is within reach, and not much farther than home."""
    nearest = min((latency[region] for region in regions & latency.keys()), default=None)
    return nearest is not None and nearest <= latency.get(home, nearest) + MAX_FARTHER


def _union(sets: Iterable[frozenset[int]]) -> frozenset[int]:
    return frozenset[int]().union(*sets)
