"""Who sees whom: nodes that stand in the same targets, as source and as destination, form one band.

Room: core. No sockets, clocks, files, randomness or logs come in.

Ten thousand nodes under a policy about users, groups and tags form a few bands, so a question about two nodes, or
about all, is one about two bands. Only autogroup:self looks further, at the nodes of one user.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ginnel.words import NodeId

Bits = int


@dataclass(slots=True, eq=False)
class Band:
    """Nodes with equal bits. `holds`: the numbers of the targets, lanes folded, that they receive packets for."""

    source: Bits
    target: Bits
    holds: Bits
    members: set[NodeId] = field(default_factory=set)

    def sees(self, other: Band) -> bool:
        """Whether either may reach the other."""
        return bool(self.source & other.target or other.source & self.target)


class Bands:
    def __init__(self, width: int) -> None:
        self.width = width
        self.by_bits: dict[tuple[Bits, Bits], Band] = {}
        self.visible: dict[Band, frozenset[NodeId]] = {}  # members of all bands that one sees, where somebody asked

    def __iter__(self) -> Iterator[Band]:
        return iter(self.by_bits.values())

    def join(self, node_id: NodeId, source: Bits, target: Bits) -> Band:
        band = self.by_bits.get((source, target))
        if band is None:
            band = Band(source, target, (target | target >> self.width) & ~(-1 << self.width))
            self.by_bits[source, target] = band
        band.members.add(node_id)
        self._forget(band)
        return band

    def leave(self, node_id: NodeId, band: Band) -> None:
        band.members.remove(node_id)
        self._forget(band)
        if not band.members:
            del self.by_bits[band.source, band.target]
            self.visible.pop(band, None)

    def _forget(self, changed: Band) -> None:
        for band in [band for band in self.visible if band.sees(changed)]:
            del self.visible[band]

    def visible_to(self, band: Band) -> frozenset[NodeId]:
        """All nodes that the band's members may see, themselves included where they see each other."""
        if band not in self.visible:
            self.visible[band] = frozenset().union(*(other.members for other in self if band.sees(other)))
        return self.visible[band]

    def holding(self, targets: Bits) -> frozenset[NodeId]:
        """The nodes that receive packets for any of the targets."""
        return frozenset().union(*(band.members for band in self if band.holds & targets))
