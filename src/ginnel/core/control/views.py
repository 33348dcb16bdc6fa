"""How nodes look to their peers and to themselves, and what may come in to them; made once, kept until it changes.

Room: core.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field

from ginnel.core.control.access import Access
from ginnel.core.control.peerview import Fixed, PeerView
from ginnel.core.control.presence import Presence
from ginnel.core.control.records import TAGGED_USER, Node, Status
from ginnel.core.control.registry import Registry
from ginnel.core.control.selfview import SelfView
from ginnel.core.control.statement import for_peers
from ginnel.core.firewall.told import NOTHING_TOLD, Told
from ginnel.wire import tailcfg
from ginnel.wire.tailcfg import encode
from ginnel.words import NodeId, UserId


@dataclass(slots=True)
class Views:
    """`base_domain` has no trailing dot."""

    registry: Registry
    access: Access
    presence: Presence
    base_domain: str
    told: Told = NOTHING_TOLD
    _peers: dict[NodeId, PeerView] = field(default_factory=dict)
    _filters: dict[Hashable, bytes] = field(default_factory=dict)
    _filters_version: int = -1

    def forget(self, node_id: NodeId) -> None:
        """The node is another now, or gone."""
        self._peers.pop(node_id, None)

    def peer(self, node_id: NodeId) -> PeerView:
        view = self._peers.get(node_id)
        if view is None:
            node = self.registry.nodes[node_id]
            status = self.registry.status.get(node_id, Status(node_id))
            view = self._peers[node_id] = self._make_view(node, status)
        return view

    def _make_view(self, node: Node, status: Status) -> PeerView:
        online = node.id in self.presence.online
        return PeerView(
            fixed=Fixed(
                id=node.id,
                stable_id=node.stable_id,
                name=self._name(node),
                user=node.user,
                key=node.key,
                machine=node.machine,
                addresses=(node.ipv4 + "/32", node.ipv6 + "/128"),
                tags=node.tags,
                created=node.created,
                expired=self.access.is_expired(node.id),
                hostinfo=for_peers(status.hostinfo),
            ),
            disco=status.disco,
            home=status.home,
            endpoints=status.endpoints,
            cap=status.cap,
            online=online,
            last_seen=None if online else status.last_seen,
            expiry=node.expiry,
        )

    def own(self, node_id: NodeId) -> SelfView:
        node = self.registry.nodes[node_id]
        status = self.registry.status.get(node_id, Status(node_id))
        return SelfView.of(node, status, self._name(node), self.access.attributes_of(node_id), self.told)

    def _name(self, node: Node) -> str:
        return f"{node.label}.{self.base_domain}."

    def profile(self, user: UserId) -> bytes:
        record = self.registry.users.get(user)
        if record is None or user == TAGGED_USER:
            return encode(tailcfg.UserProfile(TAGGED_USER, "tagged-devices", "Tagged Devices"))
        return encode(tailcfg.UserProfile(user, record.name, record.name))

    def filter(self, node_id: NodeId) -> bytes:
        """The node's packet filter as JSON, one bytes object for all nodes with the same; an empty list blocks all."""
        if self._filters_version != self.access.version:
            self._filters.clear()
            self._filters_version = self.access.version
        kind, rules = self.access.rules_for(node_id)
        encoded = self._filters.get(kind)
        if encoded is None:
            encoded = self._filters[kind] = encode(list(rules()))
        return encoded
