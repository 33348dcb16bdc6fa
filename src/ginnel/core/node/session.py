"""Sealing and opening disco messages, whose key is whose, and which pings are still open.

Room: core. Every drop is named, so that it can be counted. Nothing is opened for a sender that the map doesn't know.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from ginnel.core.node.constants import PING_TIMEOUT, PINGS_OUTSTANDING
from ginnel.core.node.path_actions import Purpose
from ginnel.wire import disco
from ginnel.wire.read import WireError
from ginnel.words import DiscoKey, DiscoPrivate, Endpoint, Instant, NodeKey, RegionId


@dataclass(frozen=True, slots=True)
class Dropped:
    """The datagram counts for nothing; the reason is a counter's name."""

    reason: str


@dataclass(frozen=True, slots=True)
class Opened:
    """An authentic message of the owner of `sender`."""

    sender: DiscoKey
    message: disco.Message


@dataclass(frozen=True, slots=True)
class SentPing:
    """`to`: an endpoint, or the region of a relay. `request`: the question that it answers, for Purpose.CLI.
    `socket`: from which it was sent. `size`: of its UDP payload."""

    peer: NodeKey
    to: Endpoint | RegionId
    at: Instant
    purpose: Purpose
    request: int = 0
    socket: int = 0
    size: int = 0


class DiscoSession:
    """One disco key pair of ours, and the boxes shared with each peer's."""

    def __init__(self, own: DiscoPrivate, entropy: Callable[[int], bytes]) -> None:
        self._own = own
        self._entropy = entropy
        self._nodes: dict[DiscoKey, set[NodeKey]] = {}
        self._boxes: dict[DiscoKey, disco.DiscoBox] = {}

    # --- whose key is whose ---

    def bind(self, key: DiscoKey, node: NodeKey) -> None:
        """The map says that this node uses this disco key; several nodes may share one."""
        self._nodes.setdefault(key, set()).add(node)

    def unbind(self, key: DiscoKey, node: NodeKey) -> None:
        """The key is dead for this node; what is sealed by it is dropped once no node uses it."""
        nodes = self._nodes.get(key, set())
        nodes.discard(node)
        if not nodes:
            self._nodes.pop(key, None)
            self._boxes.pop(key, None)

    def nodes_of(self, key: DiscoKey) -> frozenset[NodeKey]:
        return frozenset(self._nodes.get(key, ()))

    def node_of(self, key: DiscoKey, claimed: NodeKey | None) -> NodeKey | None:
        """The one node that speaks: the relay's or the ping's claim where the map agrees, else the only owner."""
        nodes = self._nodes.get(key, set())
        if claimed is not None and claimed:
            return claimed if claimed in nodes else None
        return next(iter(nodes)) if len(nodes) == 1 else None

    # --- boxes ---

    def seal(self, to: DiscoKey, message: disco.Message) -> bytes | None:
        """None: the map holds a key for which no box can be made (one of low order)."""
        try:
            return self._box(to).seal(message, self._entropy(disco.NONCE_SIZE))
        except WireError:
            return None

    def open(self, packet: bytes) -> Opened | Dropped:
        try:
            sender = disco.sender(packet)
        except WireError:
            return Dropped("disco.malformed")
        if sender not in self._nodes:
            return Dropped("disco.unknown_sender")
        try:
            return Opened(sender, self._box(sender).open(packet))
        except disco.NotAuthentic:
            return Dropped("disco.not_authentic")
        except disco.UnknownType:
            return Dropped("disco.unknown_type")
        except WireError:
            return Dropped("disco.malformed")

    def new_tx_id(self) -> bytes:
        return self._entropy(disco.TX_ID_SIZE)

    def _box(self, peer: DiscoKey) -> disco.DiscoBox:
        box = self._boxes.get(peer)
        if box is None:
            box = self._boxes[peer] = disco.DiscoBox(self._own, peer)
        return box


class OpenPings:
    """Pings without a pong yet, oldest first; each lives PING_TIMEOUT and counts once."""

    def __init__(self) -> None:
        self._open: OrderedDict[bytes, SentPing] = OrderedDict()

    def add(self, tx_id: bytes, ping: SentPing) -> None:
        self._open[tx_id] = ping
        if len(self._open) > PINGS_OUTSTANDING:
            self._open.popitem(last=False)

    def get(self, tx_id: bytes) -> SentPing | None:
        return self._open.get(tx_id)

    def take(self, tx_id: bytes, now: Instant) -> SentPing | None:
        """The ping that this pong answers; None: unknown, answered before, or too late."""
        ping = self._open.pop(tx_id, None)
        return ping if ping is not None and now <= ping.at + PING_TIMEOUT else None

    def lost(self, now: Instant) -> list[SentPing]:
        """Remove and return those that nobody answered in time."""
        gone: list[SentPing] = []
        while self._open:
            tx_id, ping = next(iter(self._open.items()))
            if now < ping.at + PING_TIMEOUT:  # as next_timeout adds, or rounding would wake us for nothing
                break
            del self._open[tx_id]
            gone.append(ping)
        return gone

    def next_timeout(self) -> Instant | None:
        for ping in self._open.values():
            return Instant(ping.at + PING_TIMEOUT)
        return None
