"""The data plane as the cores see it: steer, peer and filter tables, sessions, and the notices of the real pump.

Room: testing. WireGuard is a model: a message names the processes of both ends, so a session dies with either; its
counter lets it in once; what it carries is not readable outside. The times are the real tunnel's
(native/ginnel-tunnel/src/tunnel.rs).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Protocol

from ginnel.core.node.actions import NEVER_BY_RELAY, NEVER_BY_UDP, FilterRow
from ginnel.core.node.home_region import NO_REGION
from ginnel.testing.clock import VirtualClock
from ginnel.testing.inner import Inner, PacketFilter, covers
from ginnel.testing.pump_peer import NEVER, PumpPeer
from ginnel.words import Endpoint, Instant, NodeKey, RegionId

MAGIC = b"\4sim"
INITIATION, RESPONSE, DATA, KEEPALIVE, ASK, TOLD = b"i", b"r", b"d", b"k", b"q", b"t"
HEAD = len(MAGIC) + 1 + 32 + 4 + 4 + 8
QUIET = 0.5  # notices about one peer come no closer; what comes by UDP and by relays is told apart
REKEY_TIMEOUT = 5.0
ASK_AGAIN = (0.5, 1.0, 2.0)
DOUBT = (1.0, 2.0, 4.0)
LIVELY = 3.0  # an answer is due from a peer that spoke this lately
NEW_HANDSHAKE_AFTER = 15.0  # of sending without hearing anything
KEEPALIVE_AFTER = 10.0  # of hearing data without sending any
REKEY_ATTEMPT_TIME = 90.0  # then what waits for a session is dropped
SEALING = bytes((value * 167 + 89) % 256 for value in range(256))  # a permutation: sealed bytes look like others
OPENING = bytes(SEALING.index(value) for value in range(256))


class Brain(Protocol):
    """The notices that the pump gives."""

    def sent(self, key: NodeKey) -> None: ...
    def received(self, key: NodeKey, by: Endpoint | RegionId) -> None: ...
    def handshake(self, key: NodeKey) -> None: ...
    def relay_wanted(self, region: RegionId) -> None: ...


class StubPump:
    """`process`: differs at each start. `send_udp`: by the side socket of that number, 0: by the tunnel's own.
    `deliver`: what the application gets."""

    def __init__(
        self,
        key: NodeKey,
        process: int,
        clock: VirtualClock,
        brain: Brain,
        *,
        send_udp: Callable[[Endpoint, bytes, int], None],
        send_relay: Callable[[RegionId, NodeKey, bytes], bool],
        deliver: Callable[[NodeKey, Inner], None],
    ) -> None:
        self.key = key
        self.process = process
        self.counts: Counter[str] = Counter()
        self.filter = PacketFilter()
        self._clock = clock
        self._brain = brain
        self._send_udp = send_udp
        self._send_relay = send_relay
        self._deliver = deliver
        self._peers: dict[NodeKey, PumpPeer] = {}

    # --- tables ---

    def set_peer(self, key: NodeKey, allowed: tuple[str, ...]) -> None:
        self._peers.setdefault(key, PumpPeer()).allowed = allowed

    def set_filter(self, rows: Sequence[FilterRow]) -> None:
        self.filter.replace(rows)

    def set_addresses(self, prefixes: Sequence[str]) -> None:
        self.filter.local(prefixes)

    def reset_peer(self, key: NodeKey) -> None:
        """A peer that had a session is asked for another at once, and soon again while it does not answer."""
        peer = self._peers.get(key)
        if peer is None or (peer.theirs is None and not peer.queue):
            return
        peer.theirs = None
        peer.asking_since = self._clock.now
        self._ask(key, peer)

    def stop(self) -> None:
        """Its process ends: nothing that was planned happens any more."""
        self._peers.clear()

    def remove_peer(self, key: NodeKey) -> None:
        self._peers.pop(key, None)

    def steer(self, key: NodeKey, endpoint: Endpoint | None, region: RegionId, socket: int = 0) -> None:
        """What waits for a path, or for an answer that a new endpoint may bring, is tried at once."""
        if (peer := self._peers.get(key)) is None:
            return
        before = (peer.endpoint, peer.region)
        peer.endpoint, peer.socket = endpoint, 0 if socket == NEVER_BY_UDP else socket
        peer.region = NO_REGION if region == NEVER_BY_RELAY else region
        peer.may_answer = (socket != NEVER_BY_UDP, region != NEVER_BY_RELAY)
        found = endpoint is not None and endpoint != before[0]
        first = before == (None, NO_REGION) and (endpoint is not None or peer.region != NO_REGION)
        if (found or first) and peer.theirs is None and peer.queue:
            self._ask(key, peer)

    def steered(self, key: NodeKey) -> tuple[Endpoint | None, RegionId]:
        peer = self._peers.get(key)
        return (peer.endpoint, peer.region) if peer is not None else (None, NO_REGION)

    def socket_of(self, key: NodeKey) -> int:
        """By which side socket the peer is sent to; 0: by none."""
        peer = self._peers.get(key)
        return peer.socket if peer is not None else 0

    def sockets_in_use(self) -> set[int]:
        return {peer.socket for peer in self._peers.values() if peer.socket}

    # --- packets ---

    def send(self, to: NodeKey, inner: Inner) -> None:
        """A packet from the TUN device."""
        peer = self._peers.get(to)
        if peer is None or not covers(peer.allowed, inner.destination):
            self.counts["no_peer"] += 1
            return
        now = self._clock.now
        self.filter.sent(inner)
        self._doubt(to, peer, now)
        if peer.theirs is None:
            peer.queue.append(inner.encode())
            if now - peer.asked_at >= REKEY_TIMEOUT:
                peer.asking_since = now
                self._ask(to, peer)
        else:
            self._send(to, peer, DATA, inner.encode())

    def _doubt(self, to: NodeKey, peer: PumpPeer, now: Instant) -> None:
        """Data that brings no answer asks for another session beside the one there is; sooner, and a few times, when
        the peer spoke just now."""
        if peer.unanswered_since is None:
            peer.unanswered_since = now
        if peer.doubted_since is None and (peer.unheard or now - peer.spoke_at < LIVELY):
            peer.doubted_since, peer.doubts = now, 0
        silent = now - peer.unanswered_since
        due = silent > NEW_HANDSHAKE_AFTER and now - peer.asked_at >= REKEY_TIMEOUT
        if peer.doubted_since is not None and peer.doubts < len(DOUBT):
            soon = now - peer.doubted_since >= DOUBT[peer.doubts]
            peer.doubts += soon
            due |= soon
        if due and peer.theirs is not None:
            peer.asked_at = now
            self._send(to, peer, INITIATION, b"")

    def ask_inside(self, to: NodeKey) -> None:
        """By the direct way alone; nothing is told of it."""
        peer = self._peers.get(to)
        if peer is not None and peer.theirs is not None and peer.endpoint is not None:
            self._send_udp(peer.endpoint, self._packet(peer, ASK, b""), peer.socket)

    def received(self, by: Endpoint | RegionId, packet: bytes, socket: int = 0) -> None:
        """A WireGuard message. Its source only serves to answer a handshake, never to move the path."""
        kind, source = packet[4:5], NodeKey(packet[5:37])
        theirs, ours = int.from_bytes(packet[37:41], "big"), int.from_bytes(packet[41:45], "big")
        peer = self._peers.get(source)
        if peer is None:
            self.counts["unknown_peer"] += 1
            return
        if kind == INITIATION:
            peer.begin(theirs)
            self._heard(source, peer, by)
            self._brain.handshake(source)
            self._respond(source, peer, by, socket)
        elif ours != self.process:
            self.counts["dead_session"] += 1
        elif kind == RESPONSE:
            peer.begin(theirs)
            self._heard(source, peer, by)
            self._brain.handshake(source)
            self._confirm(source, peer)
        elif peer.theirs != theirs:
            self.counts["dead_session"] += 1
        else:
            self._take_data(source, peer, by, packet)

    def _take_data(self, source: NodeKey, peer: PumpPeer, by: Endpoint | RegionId, packet: bytes) -> None:
        kind, counter, now = packet[4:5], int.from_bytes(packet[45:HEAD], "big"), self._clock.now
        if not peer.fresh(counter):
            self.counts["replay"] += 1
            if isinstance(by, Endpoint) and peer.is_copy(counter, now):
                self._tell_received(source, peer, by)
        else:
            if not isinstance(by, Endpoint):
                peer.note_relayed(counter, now)
            self._heard(source, peer, by)
            peer.unheard, peer.doubted_since = False, None
            if kind != KEEPALIVE:
                peer.spoke_at = now
                self._plan_keepalive(source, peer)
            if kind == DATA:
                self._inward(source, peer, packet[HEAD:].translate(OPENING))
            elif kind == ASK:
                self._send(source, peer, TOLD, b"")

    def _respond(self, to: NodeKey, peer: PumpPeer, by: Endpoint | RegionId, socket: int) -> None:
        """By the steered path; without one, back where the initiation came from, unless that is forbidden."""
        by_udp, by_relay = peer.may_answer
        if peer.endpoint is not None or peer.region:
            self._send(to, peer, RESPONSE, b"")
        elif isinstance(by, Endpoint) and by_udp:
            self._send_udp(by, self._packet(peer, RESPONSE, b""), socket)
        elif not isinstance(by, Endpoint) and by_relay:
            self._send_relay(by, to, self._packet(peer, RESPONSE, b""))

    def _confirm(self, to: NodeKey, peer: PumpPeer) -> None:
        """What waited, or else a keepalive: the other side may use the session only when it has heard something."""
        if not peer.queue:
            self._send(to, peer, KEEPALIVE, b"")
        while peer.queue:
            self._send(to, peer, DATA, peer.queue.popleft())

    def _inward(self, key: NodeKey, peer: PumpPeer, plain: bytes) -> None:
        inner = Inner.decode(plain)
        if not covers(peer.allowed, inner.source):
            self.counts["spoofed"] += 1
        elif not self.filter.admits(inner):
            self.counts["filtered"] += 1
        else:
            self._deliver(key, inner)

    def _ask(self, to: NodeKey, peer: PumpPeer) -> None:
        """For a session: now, some times more soon, then each REKEY_TIMEOUT while something waits."""
        asked = peer.asked_at = self._clock.now
        self._send(to, peer, INITIATION, b"")
        for delay in (*ASK_AGAIN, REKEY_TIMEOUT):
            self._clock.after(delay, self._ask_again, to, peer, asked, delay == REKEY_TIMEOUT)

    def _ask_again(self, to: NodeKey, peer: PumpPeer, asked: Instant, last: bool) -> None:
        if self._peers.get(to) is not peer or peer.theirs is not None or peer.asked_at != asked:
            return
        if not last:
            self._send(to, peer, INITIATION, b"")
        elif self._clock.now - peer.asking_since > REKEY_ATTEMPT_TIME:
            peer.queue.clear()
        elif peer.queue:
            self._ask(to, peer)

    def _send(self, to: NodeKey, peer: PumpPeer, kind: bytes, payload: bytes) -> None:
        now = self._clock.now
        packet = self._packet(peer, kind, payload)
        peer.keepalive_at = None
        if kind != KEEPALIVE and now - peer.noted_sent >= QUIET:
            peer.noted_sent = now
            self._brain.sent(to)
        if peer.endpoint is not None:
            self.counts["udp"] += 1
            self._send_udp(peer.endpoint, packet, peer.socket)
        if peer.region:
            self.counts["relay"] += 1
            if not self._send_relay(peer.region, to, packet):
                self._brain.relay_wanted(peer.region)
        if peer.endpoint is None and not peer.region:
            self.counts["no_path"] += 1

    def _packet(self, peer: PumpPeer, kind: bytes, payload: bytes) -> bytes:
        peer.counter += 1
        ends = self.process.to_bytes(4, "big") + (peer.theirs or 0).to_bytes(4, "big") + peer.counter.to_bytes(8, "big")
        return MAGIC + kind + self.key.raw + ends + payload.translate(SEALING)

    def _heard(self, key: NodeKey, peer: PumpPeer, by: Endpoint | RegionId) -> None:
        peer.unanswered_since = None
        self._tell_received(key, peer, by)

    def _tell_received(self, key: NodeKey, peer: PumpPeer, by: Endpoint | RegionId) -> None:
        now = self._clock.now
        direct = isinstance(by, Endpoint)
        if now - peer.noted_received.get(direct, NEVER) >= QUIET:
            peer.noted_received[direct] = now
            self._brain.received(key, by)

    def _plan_keepalive(self, key: NodeKey, peer: PumpPeer) -> None:
        """Data was heard: something goes back within that time, and if it is nothing (WireGuard paper §6.5)."""
        if peer.keepalive_at is None:
            peer.keepalive_at = Instant(self._clock.now + KEEPALIVE_AFTER)
            self._clock.at(peer.keepalive_at, self._keepalive, key, peer, peer.keepalive_at)

    def _keepalive(self, key: NodeKey, peer: PumpPeer, planned: Instant) -> None:
        if self._peers.get(key) is peer and peer.theirs is not None and peer.keepalive_at == planned:
            self._send(key, peer, KEEPALIVE, b"")
