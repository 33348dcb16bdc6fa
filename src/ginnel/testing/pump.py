"""The data plane as the cores see it: a steer table, sessions, and the notices that the real pump gives.

Room: testing. WireGuard is a model: a message names the processes of both ends, so a session dies with either.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from ginnel.core.node.actions import NEVER_BY_RELAY
from ginnel.core.node.home_region import NO_REGION
from ginnel.testing.clock import VirtualClock
from ginnel.words import Endpoint, Instant, NodeKey, RegionId

MAGIC = b"\4sim"
INITIATION, RESPONSE, DATA, KEEPALIVE = b"i", b"r", b"d", b"k"
QUIET = 0.5  # notices about one peer come no closer; what comes by UDP and by relays is told apart
REKEY_TIMEOUT = 5.0
RESTART_RETRIES = (0.5, 1.0, 2.0)
NEW_HANDSHAKE_AFTER = 15.0  # of sending without hearing anything
KEEPALIVE_AFTER = 10.0  # of hearing data without sending any
QUEUE = 128
NEVER = Instant(float("-inf"))


class Brain(Protocol):
    """The notices that the pump gives."""

    def sent(self, key: NodeKey) -> None: ...
    def received(self, key: NodeKey, by: Endpoint | RegionId) -> None: ...
    def handshake(self, key: NodeKey) -> None: ...
    def relay_wanted(self, region: RegionId) -> None: ...


@dataclass(slots=True)
class _Peer:
    endpoint: Endpoint | None = None
    region: RegionId = NO_REGION
    theirs: int | None = None  # the process that the session is with
    queue: deque[bytes] = field(default_factory=lambda: deque(maxlen=QUEUE))
    initiated_at: Instant = NEVER
    noted_sent: Instant = NEVER
    noted_received: dict[bool, Instant] = field(default_factory=dict)  # by UDP, or by a relay
    sent_at: Instant = NEVER
    heard_at: Instant = NEVER
    unanswered_since: Instant | None = None
    keepalive_planned: bool = False


class StubPump:
    """`process`: differs at each start. `deliver`: what the application gets."""

    def __init__(
        self,
        key: NodeKey,
        process: int,
        clock: VirtualClock,
        brain: Brain,
        *,
        send_udp: Callable[[Endpoint, bytes], None],
        send_relay: Callable[[RegionId, NodeKey, bytes], bool],
        deliver: Callable[[NodeKey, bytes], None],
    ) -> None:
        self.key = key
        self.process = process
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._brain = brain
        self._send_udp = send_udp
        self._send_relay = send_relay
        self._deliver = deliver
        self._peers: dict[NodeKey, _Peer] = {}

    # --- tables ---

    def set_peer(self, key: NodeKey) -> None:
        self._peers.setdefault(key, _Peer())

    def reset_peer(self, key: NodeKey) -> None:
        """A peer that had a session is asked for another at once, and soon again while it does not answer."""
        peer = self._peers.get(key)
        if peer is None or (peer.theirs is None and not peer.queue):
            return
        peer.theirs = None

        def initiate() -> None:
            if self._peers.get(key) is peer and peer.theirs is None:
                peer.initiated_at = NEVER
                self._initiate(key, peer)

        initiate()
        for delay in RESTART_RETRIES:
            self._clock.after(delay, initiate)

    def remove_peer(self, key: NodeKey) -> None:
        self._peers.pop(key, None)

    def steer(self, key: NodeKey, endpoint: Endpoint | None, region: RegionId) -> None:
        """What waits for a path, or for an answer that a new endpoint may bring, is tried at once."""
        if (peer := self._peers.get(key)) is None:
            return
        before = (peer.endpoint, peer.region)
        peer.endpoint, peer.region = endpoint, NO_REGION if region == NEVER_BY_RELAY else region
        found = endpoint is not None and endpoint != before[0]
        first = before == (None, NO_REGION) and (endpoint is not None or region != NO_REGION)
        if (found or first) and peer.theirs is None and peer.queue:
            peer.initiated_at = NEVER
            self._initiate(key, peer)

    def steered(self, key: NodeKey) -> tuple[Endpoint | None, RegionId]:
        peer = self._peers.get(key, _Peer())
        return peer.endpoint, peer.region

    # --- packets ---

    def send(self, to: NodeKey, payload: bytes) -> None:
        """A packet from the TUN device."""
        peer = self._peers.get(to)
        if peer is None:
            self.counts["no_peer"] += 1
            return
        now = self._clock.now
        peer.unanswered_since = peer.unanswered_since or now
        if peer.theirs is not None and now - peer.unanswered_since > NEW_HANDSHAKE_AFTER:
            peer.theirs, peer.initiated_at = None, NEVER
        if peer.theirs is None:
            peer.queue.append(payload)
            self._initiate(to, peer)
        else:
            self._send(to, peer, DATA, payload)

    def received(self, by: Endpoint | RegionId, packet: bytes) -> None:
        """A WireGuard message. Its source only serves to answer a handshake, never to move the path."""
        kind, source = packet[4:5], NodeKey(packet[5:37])
        theirs, ours = int.from_bytes(packet[37:41], "big"), int.from_bytes(packet[41:45], "big")
        peer = self._peers.get(source)
        if peer is None:
            self.counts["unknown_peer"] += 1
            return
        if kind == INITIATION:
            peer.theirs = theirs
            self._heard(source, peer, by)
            self._brain.handshake(source)
            self._send(source, peer, RESPONSE, b"")
        elif ours != self.process:
            self.counts["dead_session"] += 1
        elif kind == RESPONSE:
            peer.theirs = theirs
            self._heard(source, peer, by)
            self._brain.handshake(source)
            while peer.queue:
                self._send(source, peer, DATA, peer.queue.popleft())
        elif peer.theirs != theirs:
            self.counts["dead_session"] += 1
        else:
            self._heard(source, peer, by)
            if kind == DATA:
                self._plan_keepalive(source, peer)
                self._deliver(source, packet[45:])

    def _initiate(self, to: NodeKey, peer: _Peer) -> None:
        if self._clock.now - peer.initiated_at < REKEY_TIMEOUT:
            return
        peer.initiated_at = self._clock.now
        self._send(to, peer, INITIATION, b"")

        def again() -> None:
            if self._peers.get(to) is peer and peer.theirs is None and peer.queue:
                self._initiate(to, peer)

        self._clock.after(REKEY_TIMEOUT, again)

    def _send(self, to: NodeKey, peer: _Peer, kind: bytes, payload: bytes) -> None:
        now = self._clock.now
        ends = self.process.to_bytes(4, "big") + (peer.theirs or 0).to_bytes(4, "big")
        packet = MAGIC + kind + self.key.raw + ends + payload
        peer.sent_at = now
        if kind != KEEPALIVE and now - peer.noted_sent >= QUIET:
            peer.noted_sent = now
            self._brain.sent(to)
        if peer.endpoint is not None:
            self.counts["udp"] += 1
            self._send_udp(peer.endpoint, packet)
        if peer.region:
            self.counts["relay"] += 1
            if not self._send_relay(peer.region, to, packet):
                self._brain.relay_wanted(peer.region)
        if peer.endpoint is None and not peer.region:
            self.counts["no_path"] += 1

    def _heard(self, key: NodeKey, peer: _Peer, by: Endpoint | RegionId) -> None:
        now = self._clock.now
        peer.heard_at, peer.unanswered_since = now, None
        direct = isinstance(by, Endpoint)
        if now - peer.noted_received.get(direct, NEVER) >= QUIET:
            peer.noted_received[direct] = now
            self._brain.received(key, by)

    def _plan_keepalive(self, key: NodeKey, peer: _Peer) -> None:
        if peer.keepalive_planned:
            return
        peer.keepalive_planned = True

        def keepalive() -> None:
            peer.keepalive_planned = False
            silent = self._clock.now - peer.sent_at >= KEEPALIVE_AFTER
            if self._peers.get(key) is peer and peer.theirs is not None and silent:
                self._send(key, peer, KEEPALIVE, b"")

        self._clock.after(KEEPALIVE_AFTER, keepalive)
