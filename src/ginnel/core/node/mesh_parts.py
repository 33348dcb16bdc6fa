"""The parts of a mesh member's core, and what happens between them after each input.

Room: core. The inputs themselves are in mesh.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from ginnel.core.node import peer_views
from ginnel.core.node.actions import (
    Action,
    CloseSides,
    Health,
    HealthCode,
    OpenSides,
    Rebind,
    RemovePeer,
    SendRelay,
    SendUdp,
    SetAddresses,
    SetFilter,
)
from ginnel.core.node.deadlines import Deadlines
from ginnel.core.node.discovery import Discovery
from ginnel.core.node.filter import filter_rows
from ginnel.core.node.home_region import NO_REGION
from ginnel.core.node.names import Names
from ginnel.core.node.netmap import NetMap
from ginnel.core.node.path_actions import NEVER, Probe, Purpose
from ginnel.core.node.peers import Change, Peer, PeerTable
from ginnel.core.node.probe_budget import ProbeBudget
from ginnel.core.node.punch import Puncher
from ginnel.core.node.punch_session import Fire, PunchAction, Tell
from ginnel.core.node.reached_network import ReachedNetwork
from ginnel.core.node.relays import Relays
from ginnel.core.node.session import DiscoSession
from ginnel.wire.punch import Punch, Step
from ginnel.words import DiscoPrivate, Endpoint, Instant, NodeKey, RegionId


class MeshParts:
    """What Mesh (mesh.py) holds."""

    drops: Counter[str]
    """Datagrams dropped, counted by reason, for example `disco.unknown_sender`."""

    def __init__(
        self,
        disco: DiscoPrivate,
        entropy: Callable[[int], bytes],
        *,
        static_endpoints: Sequence[Endpoint] = (),
        only_tcp_443: bool = False,
    ) -> None:
        """`disco` is new at every start of the process. `static_endpoints` are advertised as configured."""
        self.drops = Counter()
        self._names = Names()
        self._relays = Relays(self._names, entropy)
        own = ReachedNetwork(self._relays, self._names, entropy, static=static_endpoints, only_tcp_443=only_tcp_443)
        self._own = own
        self._own.endpoints.drops = self.drops
        session = DiscoSession(disco, entropy)
        self._peers = PeerTable(session, ProbeBudget())
        self._discovery = Discovery(session, self._peers, self.drops, self._relays.up)
        self._puncher = Puncher(entropy, self._own.stun_servers, self._socket_in_use, self.drops)
        self._discovery.punched = self._punched
        self._deadlines: Deadlines[NodeKey] = Deadlines()
        self._questions: Deadlines[int] = Deadlines()
        self._netmap = NetMap()
        self._rebound_at: Instant = NEVER
        self._configured_port = 0
        self._unhealthy: dict[HealthCode, str] = {}
        self._ailing = NO_REGION  # whose relay reported the problem that is told

    # --- inside ---

    def _settle(self, actions: list[Action], now: Instant) -> list[Action]:
        """After each input: endpoints that are fresh now go out, relays that are written to are dialed, and the
        peers that were touched are woken when they want it."""
        discovery = self._discovery
        if discovery.look_around:
            discovery.look_around = False
            if looked := self._own.confirm(now):
                actions += looked
                discovery.endpoints_at = NEVER
        actions += self._own.settled(now)
        if self._own.endpoints_at > discovery.endpoints_at:
            discovery.endpoints = tuple(endpoint for endpoint, _ in self._own.list)
            discovery.endpoints_at = self._own.endpoints_at
        if discovery.invites:
            if not discovery.fresh(now):
                actions += self._own.check(now)
            if discovery.fresh(now) or not self._own.checking:
                actions += discovery.send_invites(now)
        discovery.regions_wanted.update(action.region for action in actions if isinstance(action, SendRelay))
        for region in sorted(discovery.regions_wanted):
            actions += self._relays.wanted(region, now)
        discovery.regions_wanted.clear()
        for key in sorted(discovery.touched):  # by key, so that a run can be repeated
            if (peer := self._peers.get(key)) is not None:
                actions += self._punch(self._puncher.look(peer, now), now)
        for key in sorted(discovery.touched):
            peer = self._peers.get(key)
            self._deadlines.set(key, peer.path.next_timeout() if peer is not None else None)
        discovery.touched.clear()
        return actions

    def _apply(self, change: Change, now: Instant) -> list[Action]:
        actions = list(change.actions)
        for gone in [action.peer for action in change.actions if isinstance(action, RemovePeer)]:
            self._discovery.forget(gone)
            actions += self._punch(self._puncher.forget(gone), now)
        for peer, wanted in change.paths:
            actions += self._discovery.perform(peer, wanted, now)
            actions += self._reroute(peer, now)
        return actions

    def _punched(self, peer: Peer, message: Punch, now: Instant) -> list[Action]:
        """A peer's word about getting through NATs together. Its offer means that it has no path."""
        actions = self._punch(self._puncher.told(peer, message, now), now)
        missed = peer.path.missed(now) if message.step is Step.OFFER else []
        return [*actions, *self._discovery.perform(peer, missed, now)]

    def _punch(self, wanted: Iterable[PunchAction], now: Instant) -> list[Action]:
        """What a search beyond the ordinary wants."""
        actions: list[Action] = []
        for each in wanted:
            match each:
                case Tell(key, message) if (peer := self._peers.get(key)) is not None and peer.disco is not None:
                    packet = self._discovery.session.seal(peer.disco, message)
                    actions += [SendRelay(peer.path.region, key, packet)] if packet and peer.path.region else []
                case Fire(key, shot) if (peer := self._peers.get(key)) is not None:
                    probe = Probe(shot.to, Purpose.PUNCH, shot.socket, ttl=shot.ttl)
                    actions += self._discovery.perform(peer, [probe], now)
                case SendUdp() | OpenSides() | CloseSides():
                    actions.append(each)
        return actions

    def _socket_in_use(self, key: NodeKey) -> int:
        peer = self._peers.get(key)
        return peer.path.socket if peer is not None else 0

    def _tell_rules(self) -> list[Action]:
        return [*self._tell_addresses(), *self._tell_filter()]

    def _tell_addresses(self) -> list[Action]:
        node = self._netmap.self_node
        return [SetAddresses(peer_views.own_prefixes(node))] if node is not None else []

    def _tell_filter(self) -> list[Action]:
        return [SetFilter(filter_rows(self._netmap.rules()))]

    def _heard(self, peer: Peer, region: RegionId, now: Instant) -> list[Action]:
        if peer.heard_by == region:
            return []
        peer.heard_by = region
        return self._reroute(peer, now)

    def _reroute(self, peer: Peer, now: Instant) -> list[Action]:
        """By the peer's home region; by the relay it was heard from while home is unknown or not connected."""
        region = peer.home
        if peer.heard_by and (not region or (not self._relays.up(region) and self._relays.up(peer.heard_by))):
            region = peer.heard_by
        return self._discovery.perform(peer, peer.path.region_changed(region, now), now)

    def _reroute_all(self, region: RegionId, now: Instant) -> list[Action]:
        concerned = [peer for peer in self._peers if region in (peer.home, peer.heard_by)]
        return [action for peer in concerned for action in self._reroute(peer, now)]

    def _rebind(self, now: Instant) -> list[Action]:
        self._rebound_at = now
        return [Rebind(self._configured_port or self._own.endpoints.port_v4)]

    def _health(self, code: HealthCode, text: str | None) -> list[Action]:
        """News only."""
        if self._unhealthy.get(code) == text:
            return []
        if text is None:
            del self._unhealthy[code]
        else:
            self._unhealthy[code] = text
        return [Health(code, text)]
