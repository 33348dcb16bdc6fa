"""The peers of the map, each with its path; what the pump must be told of them.

Room: core. A peer that cannot be used (no key, expired, a key that another one holds) costs only itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ginnel.core.node import peer_views
from ginnel.core.node.actions import NEVER_BY_RELAY, Action, RemovePeer, ResetPeer, SetPeer, Steer
from ginnel.core.node.home_region import NO_REGION
from ginnel.core.node.netmap import MapChange
from ginnel.core.node.path_actions import NEVER, PathAction
from ginnel.core.node.path_policy import PathPolicies
from ginnel.core.node.paths import PathChooser
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.session import DiscoSession
from ginnel.wire.tailcfg import Node
from ginnel.words import DiscoKey, Instant, NodeKey, RegionId


@dataclass(slots=True)
class Peer:
    """`heard_by`: the region by whose relay the peer last reached us; 0: none."""

    node: Node
    path: PathChooser
    home: RegionId
    heard_by: RegionId = NO_REGION
    last_handshake: Instant = NEVER

    @property
    def key(self) -> NodeKey:
        return self.node.key

    @property
    def disco(self) -> DiscoKey | None:
        """None: the map has no disco key, so nothing but the relay is possible."""
        return self.node.disco_key or None


@dataclass(slots=True)
class Change:
    """What a peer's change asks of the pump, and of its path."""

    actions: list[Action] = field(default_factory=list)
    paths: list[tuple[Peer, list[PathAction]]] = field(default_factory=list)


class PeerTable:
    """By node key. `shadowed`: nodes whose key a peer of another number holds already."""

    def __init__(self, session: DiscoSession, budget: ProbeBudget) -> None:
        self._session = session
        self.policies = PathPolicies()
        self._budget = budget
        self._peers: dict[NodeKey, Peer] = {}
        self._shadowed: dict[int, Node] = {}

    def __iter__(self) -> Iterator[Peer]:
        return iter(self._peers.values())

    def __len__(self) -> int:
        return len(self._peers)

    def get(self, key: NodeKey) -> Peer | None:
        return self._peers.get(key)

    def map_changed(self, change: MapChange, now: Instant) -> Change:
        """Removals come first, so that a key may move from one number to another."""
        done = Change()
        freed = [node.key for node in change.removed if self._remove(node, done)]
        for old, new in change.changed:
            freed += self._replace(old, new, done, now)
        for node in change.added:
            self._add(node, done, now)
        for key in freed:
            for node in [node for node in self._shadowed.values() if node.key == key]:
                self._add(self._shadowed.pop(node.id), done, now)
        return done

    def told_again(self, now: Instant) -> Change:
        """Everything anew, for a pump that knows nothing."""
        done = Change()
        nodes = [peer.node for peer in self._peers.values()]
        for node in nodes:
            self._remove(node, Change())
        for node in nodes:
            self._add(node, done, now)
        return done

    def policies_changed(self, policies: PathPolicies, now: Instant) -> Change:
        """What the user allows for each peer's way. WireGuard-only peers have but one."""
        self.policies = policies
        done = Change()
        for peer in self._peers.values():
            if not peer.node.is_wire_guard_only:
                done.paths.append((peer, peer.path.policy_changed(policies.of(peer.node.stable_id), now)))
        return done

    def _add(self, node: Node, done: Change, now: Instant) -> None:
        if not node.key or node.expired:
            return
        if node.key in self._peers:
            self._shadowed[node.id] = node
            return
        path = PathChooser(node.key, self._budget, self.policies.of(node.stable_id))
        peer = Peer(node, path, peer_views.home_region(node))
        self._peers[node.key] = peer
        done.actions.append(SetPeer(node.key, peer_views.allowed_ips(node)))
        if node.is_wire_guard_only:
            done.actions += _fixed_path(node)
            return
        if peer.disco is not None:
            self._session.bind(peer.disco, node.key)
        done.paths.append((peer, peer.path.map_endpoints(peer_views.endpoints(node), now)))

    def _remove(self, node: Node, done: Change) -> bool:
        """True when the key is free now."""
        self._shadowed.pop(node.id, None)
        peer = self._peers.get(node.key)
        if peer is None or peer.node.id != node.id:
            return False
        del self._peers[node.key]
        if peer.disco is not None:
            self._session.unbind(peer.disco, node.key)
        done.actions.append(RemovePeer(node.key))
        return True

    def _replace(self, old: Node, new: Node, done: Change, now: Instant) -> list[NodeKey]:
        """The keys that became free."""
        peer = self._peers.get(old.key)
        known = peer is not None and peer.node.id == old.id
        same_kind = old.is_wire_guard_only == new.is_wire_guard_only and not new.is_wire_guard_only
        if peer is None or not known or old.key != new.key or new.expired or not same_kind:
            freed = self._remove(old, done)
            self._add(new, done, now)
            return [old.key] if freed and old.key != new.key else []
        self._change(peer, new, done, now)
        return []

    def _change(self, peer: Peer, new: Node, done: Change, now: Instant) -> None:
        old, peer.node = peer.node, new
        peer.home = peer_views.home_region(new)
        same = (old.addresses, old.allowed_ips) == (new.addresses, new.allowed_ips)  # most changes are of endpoints
        if not same and (allowed := peer_views.allowed_ips(new)) != peer_views.allowed_ips(old):
            done.actions.append(SetPeer(new.key, allowed))
        actions: list[PathAction] = []
        if (old.disco_key or None) != peer.disco:
            actions += self._rekeyed(peer, old.disco_key or None, done, now)
        if (old.endpoints or []) != (new.endpoints or []):
            actions += peer.path.map_endpoints(peer_views.endpoints(new), now)
        done.paths.append((peer, actions))

    def _rekeyed(self, peer: Peer, old: DiscoKey | None, done: Change, now: Instant) -> list[PathAction]:
        """Another process runs there: its sessions are gone and its old key is dead. A session that the new process has
        just made goes as well: the map may be the first to tell, or the last, and a new one costs a round trip."""
        if old is not None:
            self._session.unbind(old, peer.key)
        if peer.disco is not None:
            self._session.bind(peer.disco, peer.key)
        if old is not None:
            done.actions.append(ResetPeer(peer.key))
        return peer.path.restarted(now)


def _fixed_path(node: Node) -> list[Action]:
    """A WireGuard-only peer has neither disco nor relay: its first endpoint is all there is. Without one it is
    answered where it asks from."""
    endpoints = peer_views.endpoints(node)
    return [Steer(node.key, endpoints[0], NO_REGION) if endpoints else Steer(node.key, None, NEVER_BY_RELAY)]
