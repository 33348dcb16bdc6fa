"""A machine becomes a node: the one function behind key logins, approvals and rotations.

Room: core. Rows are returned, nothing is changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from ginnel.core.control.records import TAGGED_USER, KeyBinding, Node, Row, Status, User
from ginnel.core.control.registry import Refused, Registry
from ginnel.core.control.statement import hostname_of
from ginnel.words import MachineKey, NodeKey, UserId, WallTime


@dataclass(frozen=True, slots=True)
class Admission:
    """Who is let in as what. `user` is None for a tagged node. `hostinfo` is clean already."""

    machine: MachineKey
    key: NodeKey
    old_key: NodeKey | None
    user: User | None
    tags: tuple[str, ...]
    ephemeral: bool
    expiry: WallTime | None
    hostinfo: dict[str, Any]
    capability: int

    @property
    def owner(self) -> UserId:
        return TAGGED_USER if self.tags or self.user is None else self.user.id


def admit(registry: Registry, admission: Admission, now: WallTime) -> tuple[Node, list[Row]]:
    """Rows of a new node, or of the same node under its new key. Raises Refused."""
    if not registry.may_claim(admission.key, admission.machine):
        raise Refused("this node key belongs to another machine")
    if admission.user is None and not admission.tags:
        raise ValueError("a node needs an owner")
    same = registry.same_node(admission.machine, admission.old_key, admission.owner)
    holder = registry.node_of(admission.key, admission.machine)
    if holder is not None and (same is None or holder.id != same.id):
        raise Refused("this node key is in use for another owner; log in again to get a new one")
    binding = KeyBinding(admission.key, admission.machine)
    if same is not None:
        return (node := _continued(same, admission)), [binding, node]
    node = _new(registry, admission, now)
    return node, [binding, node, Status(node.id, hostinfo=admission.hostinfo, cap=admission.capability)]


def _continued(same: Node, admission: Admission) -> Node:
    """Same id, addresses and name; key, owner, tags and expiry are the login's. Its status stays: map requests bring
    a newer one at any time, also while the rows of the login are being written."""
    return replace(
        same,
        key=admission.key,
        user=admission.owner,
        tags=admission.tags,
        expiry=None if admission.tags else admission.expiry,
        ephemeral=admission.ephemeral,
    )


def _new(registry: Registry, admission: Admission, now: WallTime) -> Node:
    registry.room_for_node(admission.machine)
    hostname = hostname_of(admission.hostinfo)
    node_id = registry.next_node_id()
    ipv4, ipv6 = registry.take_addresses(now)
    return Node(
        id=node_id,
        machine=admission.machine,
        key=admission.key,
        user=admission.owner,
        hostname=hostname,
        label=registry.names.give(node_id, hostname),
        ipv4=ipv4,
        ipv6=ipv6,
        created=now,
        expiry=None if admission.tags else admission.expiry,
        tags=admission.tags,
        ephemeral=admission.ephemeral,
    )


def sorted_tags(tags: Iterable[str] | None) -> tuple[str, ...]:
    return tuple(sorted(set(tags or ())))
