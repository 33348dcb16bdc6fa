"""What nodes are told beside their peers, the streams it goes to, and what a mapper asks to be done.

Room: core. Nouns only; the machine is `mapper.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.control.cohort import Cohort
from ginnel.core.control.derp_views import DerpViews
from ginnel.core.control.records import Node
from ginnel.core.control.selfview import SelfView
from ginnel.core.firewall.told import NOTHING_TOLD, Told
from ginnel.words import Instant, NodeId


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every node is told, as JSON. `base_domain` has no trailing dot. `derp_map`: for all alike, unless there are
    `views`. `told`: where firewalls find the relays' names and the log hosts."""

    base_domain: str
    domain: str
    dns_config: bytes
    derp_map: bytes
    views: DerpViews | None = None
    told: Told = NOTHING_TOLD

    def derp_map_for(self, node: Node, user: str) -> bytes:
        """`user`: the name of the node's owner. b"": there is none for it."""
        if self.views is None:
            return self.derp_map
        return self.views.for_node(node.id, node.tags, "" if node.tags else user)


@dataclass(slots=True, eq=False)
class Stream:
    """One open map stream. `quiet_since` is when it was last sent something."""

    generation: int
    node_id: NodeId
    compress: str
    keep_alive_after: float
    cohort: Cohort
    own: SelfView
    filter: bytes
    derp_map: bytes
    quiet_since: Instant


@dataclass(frozen=True, slots=True)
class Send:
    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """Close this stream; the node's identity changed, it was deleted, or a newer stream took its place."""

    stream: Stream


Action = Send | End
