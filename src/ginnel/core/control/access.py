"""Who sees whom right now: the compiled policy, kept in step with the registry's nodes.

Room: core. An expired node sees nobody and lets nobody in; that is decided here, before the policy is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from ipaddress import ip_address

from ginnel.core.control.policy import Policy, PolicyNode, Touched, compile_policy, node_attributes
from ginnel.core.control.policy.compile import VisibilityClass
from ginnel.core.control.records import Node, User
from ginnel.wire.tailcfg import FilterRule
from ginnel.words import NodeId, UserId

EXPIRED = ("expired",)
"""The class of every node that is logged out."""


class Access:
    """`version` counts every change of who may see whom; within one version, classes keep their names."""

    def __init__(self, policy: Policy) -> None:
        self.version = 0
        self._policy = policy
        self._compiled = compile_policy(policy, ())
        self._facts: dict[NodeId, PolicyNode] = {}
        self._expired: set[NodeId] = set()

    def replace_policy(self, policy: Policy) -> None:
        self._policy = policy
        self._compiled = compile_policy(policy, self._facts.values())
        self.version += 1

    def put(self, node: Node, users: dict[UserId, User], *, expired: bool) -> Touched:
        facts = policy_node(node, users)
        was_expired = node.id in self._expired
        if self._facts.get(node.id) == facts and was_expired == expired:
            return Touched()
        self.version += 1
        (self._expired.add if expired else self._expired.discard)(node.id)
        self._facts[node.id] = facts
        return self._compiled.put(facts)

    def remove(self, node_id: NodeId) -> Touched:
        if self._facts.pop(node_id, None) is None:
            return Touched()
        self._expired.discard(node_id)
        self.version += 1
        return self._compiled.remove(node_id)

    def knows(self, node_id: NodeId) -> bool:
        return node_id in self._facts

    def is_expired(self, node_id: NodeId) -> bool:
        return node_id in self._expired

    def attributes_of(self, node_id: NodeId) -> frozenset[str]:
        """What the policy has the node be told."""
        facts = self._facts.get(node_id)
        return node_attributes(self._policy, facts) if facts is not None else frozenset()

    def class_of(self, node_id: NodeId) -> Hashable:
        """Equal for nodes that see the same nodes, each but itself; good until `version` moves."""
        return EXPIRED if node_id in self._expired else self._compiled.visibility_class(node_id)

    def seen_by_class(self, visibility_class: Hashable) -> Iterable[NodeId]:
        if not isinstance(visibility_class, VisibilityClass):
            return ()
        return self._compiled.visible_to_class(visibility_class)

    def sees(self, viewer: NodeId, other: NodeId) -> bool:
        return viewer not in self._expired and other in self._facts and self._compiled.may_see(viewer, other)

    def rules_for(self, node_id: NodeId) -> tuple[Hashable, Callable[[], list[FilterRule]]]:
        """The class of the node's packet filter, and how to get the rules if the class is a new one."""
        if node_id in self._expired:
            return EXPIRED, list
        return self._compiled.filter_class(node_id), lambda: self._compiled.filters_for(node_id)


def policy_node(node: Node, users: dict[UserId, User]) -> PolicyNode:
    """The node as the policy sees it. Advertised routes need an approval, and nobody can give one yet."""
    owner = users.get(node.user)
    return PolicyNode(
        id=node.id,
        user=owner.name if owner is not None and not node.tags else "",
        tags=frozenset(node.tags),
        addresses=(ip_address(node.ipv4), ip_address(node.ipv6)),
    )
