"""Which nodes are here: a node is online while it has a map stream, and a short grace longer.

Room: core. A node has one stream that counts, the newest; what happens to an older one changes nothing (C15).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ginnel.core.control import limits
from ginnel.words import Instant, NodeId


@dataclass(slots=True)
class Presence:
    online: set[NodeId] = field(default_factory=set)
    _stream: dict[NodeId, int] = field(default_factory=dict)
    _left: dict[NodeId, Instant] = field(default_factory=dict)

    def opened(self, node_id: NodeId, generation: int) -> bool:
        """True when the node was not online before."""
        self._stream[node_id] = generation
        self._left.pop(node_id, None)
        fresh = node_id not in self.online
        self.online.add(node_id)
        return fresh

    def closed(self, node_id: NodeId, generation: int, now: Instant) -> None:
        if self._stream.get(node_id) == generation:
            del self._stream[node_id]
            self._left[node_id] = now

    def awaited(self, node_id: NodeId, now: Instant) -> None:
        """The node is known and has no stream yet: its time to come runs from now."""
        if node_id not in self._stream:
            self._left.setdefault(node_id, now)

    def forget(self, node_id: NodeId) -> None:
        self._stream.pop(node_id, None)
        self._left.pop(node_id, None)
        self.online.discard(node_id)

    def went_offline(self, now: Instant) -> list[NodeId]:
        """Nodes whose grace is over; each is told once."""
        over = [n for n, left in self._left.items() if n in self.online and now - left >= limits.OFFLINE_GRACE]
        self.online.difference_update(over)
        return over

    def gone_for(self, seconds: float, now: Instant) -> list[NodeId]:
        """Nodes without a stream for at least that long."""
        return [node_id for node_id, left in self._left.items() if now - left >= seconds]
