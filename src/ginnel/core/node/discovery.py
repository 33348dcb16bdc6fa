"""Disco between us and the peers: pings answered, pongs credited, call-me-maybes obeyed and sent.

Room: core. Paths (paths.py) decide whom to ask; here it is sealed, sent, and what comes back is judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ginnel.core.node import peer_views
from ginnel.core.node.actions import Action, AskInside, CallByServer, PingAnswered, SendRelay, SendUdp, Steer
from ginnel.core.node.addresses import is_candidate
from ginnel.core.node.constants import (
    CALL_BY_SERVER_AGAIN,
    CALL_ME_MAYBE_ENDPOINTS,
    CALLS_BY_SERVER_AT_ONCE,
    ENDPOINTS_FRESH_ENOUGH,
)
from ginnel.core.node.home_region import NO_REGION
from ginnel.core.node.path_actions import NEVER, Invite, LookAround, PathAction, Probe, Purpose, Question
from ginnel.core.node.path_policy import PathPolicy
from ginnel.core.node.peers import Peer, PeerTable
from ginnel.core.node.scoring import Proven, wire_size
from ginnel.core.node.session import DiscoSession, Dropped, Opened, OpenPings, SentPing
from ginnel.core.node.steered import SteeredPeers
from ginnel.wire.derpmap import magic_endpoint
from ginnel.wire.disco import PING_SIZE, CallMeMaybe, Ping, Pong
from ginnel.wire.punch import Punch
from ginnel.words import DiscoKey, Endpoint, Instant, NodeKey, RegionId

MAX_PING_SIZE = 65535 - 28 - 32


@dataclass(frozen=True, slots=True)
class Arrival:
    """How a packet came: by UDP from an endpoint to one of our sockets, or by a relay, which names its sender."""

    by: Endpoint | RegionId
    relayed_from: NodeKey | None = None
    socket: int = 0


class Discovery:
    """`touched`: peers whose path had an input and may want waking at another time; the mesh empties it."""

    def __init__(
        self,
        session: DiscoSession,
        peers: PeerTable,
        drops: Counter[str],
        relay_up: Callable[[RegionId], bool],
    ) -> None:
        self.session = session
        self.open_pings = OpenPings()
        self.own_key: NodeKey | None = None
        self.own_addresses: tuple[str, ...] = ()
        """Inside the tailnet."""
        self.endpoints: tuple[Endpoint, ...] = ()
        self.endpoints_at: Instant = NEVER
        self.invites: dict[NodeKey, None] = {}
        """Peers that get a call-me-maybe as soon as our endpoints are fresh."""
        self.look_around = False
        """Our endpoints are to be confirmed; the mesh does it."""
        self.touched: set[NodeKey] = set()
        self.regions_wanted: set[RegionId] = set()
        """Relays that something waits for; the mesh empties it."""
        self.punched: Callable[[Peer, Punch, Instant], list[Action]] = lambda _peer, _message, _now: []
        """Takes the words of a peer that wants to get through our NATs together (punch.py)."""
        self._parked: dict[NodeKey, Instant] = {}
        self._called_by_server: dict[NodeKey, Instant] = {}
        self._relay_up = relay_up
        self._peers = peers
        self._drops = drops
        self._questions: dict[int, NodeKey] = {}
        self._steered = SteeredPeers()

    # --- what a path wants ---

    def perform(self, peer: Peer, wanted: Iterable[PathAction], now: Instant) -> list[Action]:
        self.touched.add(peer.key)
        actions: list[Action] = []
        for each in wanted:
            match each:
                case Probe(endpoint, purpose, socket, size, ttl):
                    actions += self._ping(peer, endpoint, purpose, now, socket=socket, size=size, ttl=ttl)
                case LookAround():
                    self.look_around = True
                case Question():
                    if ends := peer_views.inside_addresses(self.own_addresses, peer.node):
                        actions.append(AskInside(peer.key, *ends))
                case Invite():
                    actions += self._invite(peer, now)
                case Steer():
                    self._steered.note(peer.key, each.endpoint)
                    peer.path.history.steered(each.endpoint, each.region, now)
                    actions.append(each)
        return actions

    def forget(self, peer: NodeKey) -> None:
        self._steered.note(peer, None)
        self.invites.pop(peer, None)
        self._parked.pop(peer, None)
        self._called_by_server.pop(peer, None)

    def peer_at(self, endpoint: Endpoint) -> Peer | None:
        """Whose direct path leads there."""
        key = self._steered.at(endpoint)
        return self._peers.get(key) if key is not None else None

    def _ping(
        self,
        peer: Peer,
        to: Endpoint | RegionId,
        purpose: Purpose,
        now: Instant,
        *,
        request: int = 0,
        size: int = 0,
        socket: int = 0,
        ttl: int = 0,
    ) -> list[Action]:
        if peer.disco is None or self.own_key is None:
            return []
        tx_id = self.session.new_tx_id()
        self.open_pings.add(tx_id, SentPing(peer.key, to, now, purpose, request, socket, size))
        if isinstance(to, Endpoint):
            peer.path.history.asked(guessed(to, socket), now, told=purpose is not Purpose.HEARTBEAT)
        padding = min(max(0, size - PING_SIZE), MAX_PING_SIZE)
        return self._send(peer.disco, peer.key, to, Ping(tx_id, self.own_key, padding), socket, ttl=ttl)

    def _send(
        self,
        to: DiscoKey,
        peer: NodeKey,
        by: Endpoint | RegionId,
        message: Ping | Pong,
        socket: int = 0,
        *,
        ttl: int = 0,
    ) -> list[Action]:
        packet = self.session.seal(to, message)
        if packet is None:
            return self._drop("disco.bad_key")
        return [SendUdp(by, packet, socket, ttl)] if isinstance(by, Endpoint) else [SendRelay(by, peer, packet)]

    # --- call-me-maybe ---

    def fresh(self, now: Instant) -> bool:
        return now - self.endpoints_at < ENDPOINTS_FRESH_ENOUGH

    def _invite(self, peer: Peer, now: Instant) -> list[Action]:
        self.invites[peer.key] = None
        return self.send_invites(now) if self.fresh(now) else []

    def send_invites(self, now: Instant) -> list[Action]:
        """Our endpoints are as fresh as they get: call those who wait."""
        waiting, self.invites = self.invites, {}
        actions: list[Action] = []
        for key in waiting:
            peer = self._peers.get(key)
            if peer is None or peer.disco is None or peer.path.region == NO_REGION:
                continue
            if peer.path.known_to_peer(now):
                continue
            if not self._relay_up(peer.path.region):
                self._parked[key] = now
                self.regions_wanted.add(peer.path.region)
                continue
            packet = self.session.seal(peer.disco, CallMeMaybe(self.endpoints[:CALL_ME_MAYBE_ENDPOINTS]))
            if packet is not None:
                peer.path.history.called(now)
                actions.append(SendRelay(peer.path.region, key, packet))
        return actions

    def relay_came_up(self, region: RegionId, now: Instant) -> None:
        """Those who could not be called for want of this relay are called now, unless that was long ago."""
        for key, since in list(self._parked.items()):
            peer = self._peers.get(key)
            if peer is None or peer.path.region == region:
                del self._parked[key]
            if peer is not None and peer.path.region == region and now - since <= ENDPOINTS_FRESH_ENOUGH:
                self.invites[key] = None

    def relay_failed(self, region: RegionId, now: Instant) -> list[Action]:
        """Those who could not be called for want of this relay, which cannot be had: there is another way to call
        those who know it."""
        called = [key for key in self._parked if self._wants_call(key, region, now)][:CALLS_BY_SERVER_AT_ONCE]
        self._called_by_server |= dict.fromkeys(called, now)
        return list(map(CallByServer, called))

    def _wants_call(self, key: NodeKey, region: RegionId, now: Instant) -> bool:
        peer = self._peers.get(key)
        if peer is None or peer.path.region != region or now - self._parked[key] > ENDPOINTS_FRESH_ENOUGH:
            return False
        before = self._called_by_server.get(key, NEVER)
        return peer_views.is_ours(peer.node) and now - before >= CALL_BY_SERVER_AGAIN

    def called_by_server(self, key: NodeKey, now: Instant) -> list[Action]:
        """As a call-me-maybe with the addresses that the map has."""
        peer = self._peers.get(key)
        if peer is None:
            return []
        peer.path.history.was_called(now)
        return self.perform(peer, peer.path.called(peer_views.endpoints(peer.node), now), now)

    # --- what comes in ---

    def received(self, arrival: Arrival, packet: bytes, now: Instant) -> list[Action]:
        opened = self.session.open(packet)
        if isinstance(opened, Dropped):
            return self._drop(opened.reason)
        match opened.message:
            case Ping():
                return self._on_ping(opened, opened.message, arrival, now)
            case Pong():
                return self._on_pong(opened, opened.message, arrival, now)
            case CallMeMaybe():
                return self._on_call_me_maybe(opened, opened.message, arrival, now)
            case Punch():
                return self._on_punch(opened, opened.message, arrival, now)
            case _:
                return self._drop("disco.unhandled_type")

    def _on_ping(self, opened: Opened, ping: Ping, arrival: Arrival, now: Instant) -> list[Action]:
        """Answered where it came from; by UDP its source becomes a candidate, and our turn to ask."""
        nodes = self.session.nodes_of(opened.sender)
        by, relayed_from = arrival.by, arrival.relayed_from
        if (ping.node_key and ping.node_key not in nodes) or (relayed_from and relayed_from not in nodes):
            return self._drop("disco.wrong_node_key")
        if not isinstance(by, Endpoint):
            return self._on_relayed_ping(opened, ping, by, relayed_from, now) if relayed_from else []
        if not by.port or by.ip.is_multicast:
            return self._drop("disco.bad_source")
        speaker = self.session.node_of(opened.sender, ping.node_key)
        said_by = self._peers.get(speaker) if speaker is not None else None
        if said_by is not None and (why := said_by.path.deaf_to(by, now)):
            return self._drop(why)
        actions = self._send(opened.sender, NodeKey.zero(), by, Pong(ping.tx_id, by), arrival.socket)
        for key in [speaker] if speaker is not None else sorted(nodes):
            if (peer := self._peers.get(key)) is not None:
                actions += self._heard_at(peer, arrival, now)
        return actions

    def _heard_at(self, peer: Peer, arrival: Arrival, now: Instant) -> list[Action]:
        """The peer's disco came by UDP from there."""
        by = arrival.by
        if not isinstance(by, Endpoint) or not (is_candidate(by) or by.ip.is_loopback or by.ip.is_link_local):
            return []
        peer.path.history.heard(guessed(by, arrival.socket), now)
        return self.perform(peer, peer.path.pinged(by, now, socket=arrival.socket), now)

    def _on_relayed_ping(self, opened: Opened, ping: Ping, by: RegionId, sender: NodeKey, now: Instant) -> list[Action]:
        """Peers ping by relay only while they have no path to us: time to look for one."""
        actions = self._send(opened.sender, sender, by, Pong(ping.tx_id, magic_endpoint(by)))
        if (peer := self._peers.get(sender)) is not None:
            actions += self.perform(peer, peer.path.contacted(now), now)
        return actions

    def _on_pong(self, opened: Opened, pong: Pong, arrival: Arrival, now: Instant) -> list[Action]:
        """Counts for the address that was asked, and only from there, whatever the pong says of itself. Elsewhere (a
        peer of several addresses may answer from another one) is a place to ask at."""
        asked = self.open_pings.get(pong.tx_id)
        if asked is None or asked.peer not in self.session.nodes_of(opened.sender):
            return self._drop("disco.unasked_pong")
        if isinstance(arrival.by, Endpoint) != isinstance(asked.to, Endpoint):
            return self._drop("disco.pong_elsewhere")
        peer = self._peers.get(asked.peer)
        if isinstance(arrival.by, Endpoint) and arrival.by != asked.to and peer is not None:
            self._drop("disco.pong_elsewhere")
            return self._heard_at(peer, arrival, now)
        if self.open_pings.take(pong.tx_id, now) is None or peer is None:
            return self._drop("disco.late_pong")
        latency = now - asked.at
        actions: list[Action] = []
        if isinstance(asked.to, Endpoint):
            wire_mtu = wire_size(asked.to, asked.size) if asked.size else 0
            proven = Proven(asked.to, latency, wire_mtu, asked.socket)
            told = asked.purpose is not Purpose.HEARTBEAT
            peer.path.history.answered(guessed(asked.to, asked.socket), latency, now, told=told)
            actions += self.perform(peer, peer.path.ponged(proven, now), now)
        if asked.purpose is Purpose.CLI and self._questions.pop(asked.request, None) is not None:
            actions.append(_answer(asked, latency))
        return actions

    def _on_call_me_maybe(self, opened: Opened, message: CallMeMaybe, arrival: Arrival, now: Instant) -> list[Action]:
        peer = self._peers.get(arrival.relayed_from) if arrival.relayed_from is not None else None
        if isinstance(arrival.by, Endpoint) or peer is None:
            return self._drop("disco.call_me_maybe_not_by_relay")
        if peer.disco != opened.sender:
            return self._drop("disco.wrong_node_key")
        peer.path.history.was_called(now)
        return self.perform(peer, peer.path.called(message.endpoints, now), now)

    def _on_punch(self, opened: Opened, message: Punch, arrival: Arrival, now: Instant) -> list[Action]:
        peer = self._peers.get(arrival.relayed_from) if arrival.relayed_from is not None else None
        if isinstance(arrival.by, Endpoint) or peer is None:
            return self._drop("disco.punch_not_by_relay")
        if peer.disco != opened.sender:
            return self._drop("disco.wrong_node_key")
        return self.punched(peer, message, now)

    # --- questions of people ---

    def ask(self, request: int, peer: Peer, size: int, now: Instant) -> list[Action]:
        """Ping for `ginnel ping`: on the trusted path, else everywhere at once."""
        self._questions[request] = peer.key
        trusted = peer.path.endpoint if peer.path.trusted(now) else None
        socket = peer.path.socket if trusted else 0
        ways: list[Endpoint | RegionId] = [trusted] if trusted else list(peer.path.candidates)
        if trusted is None and peer.path.region != NO_REGION and peer.path.policy is not PathPolicy.DIRECT:
            ways.append(peer.path.region)
        return [
            action
            for way in ways
            if not isinstance(way, Endpoint) or peer.path.may_probe(way, now)
            for action in self._ping(peer, way, Purpose.CLI, now, request=request, size=size, socket=socket)
        ]

    def give_up(self, request: int) -> NodeKey | None:
        """The peer of a question that nobody answered; None: it was answered."""
        return self._questions.pop(request, None)

    # --- time ---

    def lost_pings(self, now: Instant) -> list[Action]:
        actions: list[Action] = []
        for ping in self.open_pings.lost(now):
            peer = self._peers.get(ping.peer)
            if peer is not None and isinstance(ping.to, Endpoint):
                actions += self.perform(peer, peer.path.ping_lost(ping.to, now), now)
        return actions

    def _drop(self, reason: str) -> list[Action]:
        self._drops[reason] += 1
        return []


def guessed(endpoint: Endpoint, socket: int) -> Endpoint:
    """What side sockets try is told together, by address: there may be a thousand ports."""
    return Endpoint(endpoint.ip, 0) if socket else endpoint


def _answer(asked: SentPing, latency: float) -> PingAnswered:
    if isinstance(asked.to, Endpoint):
        return PingAnswered(asked.request, asked.peer, latency, asked.to, NO_REGION)
    return PingAnswered(asked.request, asked.peer, latency, None, asked.to)
