"""Which pairs of nodes cannot meet by relay, since one of them does not reach a relay region.

Room: core. Who sends by relay writes to the receiver's home region. So a node that does not reach region X cannot send
to anybody whose home is X. They can send to it, as long as they reach its own home, and once they have, it may answer
by the relay that they came by (tailscale: wgengine/magicsock/derp.go, derpRoute). First contact from its side is lost;
between two that miss each other's home, all contact is.

Grouped by the region that is not reached: of 10,000 nodes there are 10^8 pairs, but few regions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice

from ginnel.core.control.reach import Heard, NodeReach
from ginnel.words import NodeId, WallTime

MAX_LOOKS = 20_000  # pairs of one region that are looked at one by one; beyond, their number is a product
MAX_LOOKS_ALL = 100_000  # of all regions together
EXAMPLES = 20

Sees = Callable[[NodeId, NodeId], bool]


@dataclass(frozen=True, slots=True)
class Pair:
    """`sender` cannot reach `receiver` by relay. `both`: nor the other way."""

    sender: NodeId
    receiver: NodeId
    both: bool = False


@dataclass(frozen=True, slots=True)
class Lost:
    """A node that does not reach the region. `says`: by its own word; else it is missing from its reports."""

    node: NodeId
    since: WallTime
    says: bool


@dataclass(frozen=True, slots=True)
class Partition:
    """`homed`: nodes whose home it is. `pairs`: how many cannot meet; an upper bound where they are not `counted`.
    `reached_by`: nodes that do reach it, as far as they say: none points at the relay itself."""

    region: int
    lost: tuple[Lost, ...]
    homed: tuple[NodeId, ...]
    reached_by: int
    pairs: int
    counted: bool
    examples: tuple[Pair, ...]

    @property
    def since(self) -> WallTime:
        return min(lost.since for lost in self.lost)


@dataclass(slots=True)
class Partitions:
    """`told` at each request of a node, `found` for whoever asks."""

    regions: frozenset[int] = frozenset()
    _nodes: dict[NodeId, NodeReach] = field(default_factory=dict)

    def told(self, node: NodeId, heard: Heard, wall: WallTime, measured: frozenset[int] | None = None) -> bool:
        """True if this node is lost to other regions than before. `measured`: regions that it is given and may measure,
        None: all."""
        reach = self._nodes.setdefault(node, NodeReach())
        return reach.told(heard, self.regions if measured is None else measured, wall)

    def keep(self, nodes: Iterable[NodeId]) -> None:
        """Those that are registered; the others are forgotten."""
        kept = frozenset(nodes)
        self._nodes = {node: reach for node, reach in self._nodes.items() if node in kept}

    def latency(self, node: NodeId) -> Mapping[int, float]:
        """The last that it said of each region, or the best it ever had."""
        reach = self._nodes.get(node)
        return {**reach.best, **reach.latency} if reach is not None else {}

    def lost_to(self, node: NodeId) -> frozenset[int]:
        reach = self._nodes.get(node)
        return frozenset(reach.lost) & self.regions if reach is not None else frozenset()

    @property
    def any(self) -> bool:
        return any(reach.lost for reach in self._nodes.values())

    def found(self, homes: Mapping[NodeId, int], sees: Sees) -> list[Partition]:
        """`homes`: of the nodes that count, such as those that are online. Most pairs first."""
        homed: dict[int, list[NodeId]] = {}
        for node, home in homes.items():
            homed.setdefault(home, []).append(node)
        lost: dict[int, list[Lost]] = {}
        reached: dict[int, int] = {}
        for node in homes:
            reach = self._nodes.get(node)
            if reach is None:
                continue
            for region in self.regions & reach.lost.keys():
                lost.setdefault(region, []).append(Lost(node, WallTime(reach.lost[region]), reach.says))
            for region in reach.latency.keys() - reach.lost.keys():
                reached[region] = reached.get(region, 0) + 1
        found, left = [], MAX_LOOKS_ALL
        for region in sorted(lost):
            partition = self._partition(region, lost[region], homed.get(region, []), reached.get(region, 0))
            most = len(partition.lost) * len(partition.homed)
            looks = min(most, MAX_LOOKS, left)
            left -= looks
            found.append(self._counted(partition, homes, sees, looks, whole=looks == most))
        return sorted(found, key=lambda partition: (-partition.pairs, partition.region))

    def _partition(self, region: int, lost: Sequence[Lost], homed: Sequence[NodeId], reached: int) -> Partition:
        kept = tuple(sorted(lost, key=lambda each: (each.since, each.node)))
        return Partition(region, kept, tuple(homed), reached, len(lost) * len(homed), False, ())

    def _counted(
        self, partition: Partition, homes: Mapping[NodeId, int], sees: Sees, looks: int, *, whole: bool
    ) -> Partition:
        """With the pairs that may talk at all: all of them, or as many as there are looks for."""
        every = ((one.node, other) for one in partition.lost for other in partition.homed)
        pairs = [(one, other) for one, other in islice(every, looks) if one != other and sees(one, other)]
        examples = tuple(Pair(one, other, homes[one] in self.lost_to(other)) for one, other in pairs[:EXAMPLES])
        return replace(partition, pairs=len(pairs) if whole else partition.pairs, counted=whole, examples=examples)
