"""A policy and the nodes become packet filters and visibility, and stay so as nodes come and go.

Room: core. No sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from ginnel.core.control.policy.model import Policy, PolicyNode
from ginnel.wire.tailcfg import FilterRule
from ginnel.words import NodeId


@dataclass(frozen=True, slots=True)
class Touched:
    """What a change of one node did to the others. The node itself is in none of the sets.

    `gained`, `lost`: they and the node see each other from now on, or no longer.
    `refiltered`: their packet filter may read differently now.
    """

    gained: frozenset[NodeId] = frozenset()
    lost: frozenset[NodeId] = frozenset()
    refiltered: frozenset[NodeId] = frozenset()


class Compiled:
    def put(self, node: PolicyNode) -> Touched:
        """Add the node, or replace the one with its id."""
        raise NotImplementedError

    def remove(self, node_id: NodeId) -> Touched:
        """Take the node away. Raises KeyError when it is not there."""
        raise NotImplementedError

    def filters_for(self, node_id: NodeId) -> list[FilterRule]:
        """The rules whose destinations touch the node, its routes or, for an exit node, the internet.

        Nodes of one `filter_class` get the same list object: do not change it.
        """
        raise NotImplementedError

    def filter_class(self, node_id: NodeId) -> Hashable:
        """Equal for nodes whose filters are equal, until the next put or remove."""
        raise NotImplementedError

    def may_see(self, a: NodeId, b: NodeId) -> bool:
        """Whether either may reach the other, on any port. A node does not see itself."""
        raise NotImplementedError

    def visible_to(self, node_id: NodeId) -> frozenset[NodeId]:
        """All that `may_see` the node; it is not among them."""
        raise NotImplementedError

    def visibility_class(self, node_id: NodeId) -> Hashable:
        """Equal for nodes that see the same nodes (each but itself), until the next put or remove."""
        raise NotImplementedError

    def visible_to_class(self, visibility_class: Hashable) -> frozenset[NodeId]:
        """Whom a node of the class sees; holds the class's own members too where they see each other."""
        raise NotImplementedError


def compile_policy(policy: Policy, nodes: Iterable[PolicyNode]) -> Compiled:
    raise NotImplementedError
