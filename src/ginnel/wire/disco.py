"""Disco: the messages by which peers find direct paths, sealed with NaCl boxes (tailscale: disco/disco.go).

Room: wire. Bytes become messages and back; nonces and transaction ids are arguments. No sockets, clocks, randomness
or logs come in.

    magic(6) | sender's disco key(32), in the clear | nonce(24) | tag(16) | type(1) version(1) body     80 + body

Bytes after a ping, a pong or a bind message are skipped, and their version is not looked at: newer peers may say more.
A call-me-maybe that is odd in any way is one without endpoints. A type that is not known raises UnknownType, to be
ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from nacl.bindings import crypto_box_beforenm, crypto_box_easy_afternm, crypto_box_open_easy_afternm
from nacl.exceptions import CryptoError

from ginnel.wire.address import ADDRESS_SIZE, read_address, write_address
from ginnel.wire.punch import Punch, read_punch
from ginnel.wire.read import Malformed, Reader, WireError
from ginnel.words import KEY_SIZE, DiscoKey, DiscoPrivate, Endpoint, NodeKey

MAGIC = b"TS\xf0\x9f\x92\xac"
NONCE_SIZE = 24
TAG_SIZE = 16
HEADER_SIZE = len(MAGIC) + KEY_SIZE + NONCE_SIZE
OVERHEAD = HEADER_SIZE + TAG_SIZE + 2
TX_ID_SIZE = 12
PING_SIZE = OVERHEAD + TX_ID_SIZE + KEY_SIZE  # a ping without padding
CHALLENGE_SIZE = 32


class UnknownType(WireError):
    """A message of a later version: ignore it."""


class NotAuthentic(WireError):
    """The box does not open: sealed for an old key of ours, or forged. Drop it in silence."""


@dataclass(frozen=True, slots=True)
class Ping:
    """`node_key`: the sender's claim, believed only as far as the net map agrees. `padding`: bytes of zeros after it,
    so that the whole datagram has a size to probe."""

    tx_id: bytes
    node_key: NodeKey | None
    padding: int = 0
    kind: ClassVar[int] = 1

    def body(self) -> bytes:
        claim = b"" if self.node_key is None else self.node_key.raw
        return self.tx_id + claim + bytes(self.padding)


@dataclass(frozen=True, slots=True)
class Pong:
    """`source`: where the ping came from, as the answerer saw it; 127.3.3.40:<region> by a relay."""

    tx_id: bytes
    source: Endpoint
    kind: ClassVar[int] = 2

    def body(self) -> bytes:
        return self.tx_id + write_address(self.source)


@dataclass(frozen=True, slots=True)
class CallMeMaybe:
    """By relay only: ping me at these endpoints, my firewall is open for you now."""

    endpoints: tuple[Endpoint, ...]
    kind: ClassVar[int] = 3

    def body(self) -> bytes:
        return b"".join(map(write_address, self.endpoints))


@dataclass(frozen=True, slots=True)
class Bind:
    """What the three steps of binding to a peer relay have in common. `generation` is never 0; `challenge` is zero in
    the first step."""

    vni: int
    generation: int
    remote: DiscoKey
    challenge: bytes = bytes(CHALLENGE_SIZE)
    kind: ClassVar[int] = 4

    def body(self) -> bytes:
        return self.vni.to_bytes(4, "big") + self.generation.to_bytes(4, "big") + self.remote.raw + self.challenge


@dataclass(frozen=True, slots=True)
class BindChallenge(Bind):
    kind: ClassVar[int] = 5


@dataclass(frozen=True, slots=True)
class BindAnswer(Bind):
    kind: ClassVar[int] = 6


@dataclass(frozen=True, slots=True)
class RelayEndpoint:
    """Room on a peer relay for two clients. Lifetimes are nanoseconds; a higher `lamport_id` is a newer offer."""

    server: DiscoKey
    clients: tuple[DiscoKey, DiscoKey]
    lamport_id: int
    vni: int
    bind_lifetime: int
    steady_lifetime: int
    endpoints: tuple[Endpoint, ...]

    def encode(self) -> bytes:
        fixed = self.server.raw + self.clients[0].raw + self.clients[1].raw + self.lamport_id.to_bytes(8, "big")
        fixed += self.vni.to_bytes(4, "big")
        fixed += self.bind_lifetime.to_bytes(8, "big") + self.steady_lifetime.to_bytes(8, "big")
        return fixed + b"".join(map(write_address, self.endpoints))


@dataclass(frozen=True, slots=True)
class CallMeMaybeVia:
    """By DERP only: reach me by this peer relay."""

    relay: RelayEndpoint
    kind: ClassVar[int] = 7

    def body(self) -> bytes:
        return self.relay.encode()


@dataclass(frozen=True, slots=True)
class AllocateRequest:
    clients: tuple[DiscoKey, DiscoKey]
    generation: int
    kind: ClassVar[int] = 8

    def body(self) -> bytes:
        return self.clients[0].raw + self.clients[1].raw + self.generation.to_bytes(4, "big")


@dataclass(frozen=True, slots=True)
class AllocateResponse:
    generation: int
    relay: RelayEndpoint
    kind: ClassVar[int] = 9

    def body(self) -> bytes:
        return self.generation.to_bytes(4, "big") + self.relay.encode()


Message = (
    Ping
    | Pong
    | CallMeMaybe
    | Bind
    | BindChallenge
    | BindAnswer
    | CallMeMaybeVia
    | AllocateRequest
    | AllocateResponse
    | Punch
)


def encode(message: Message) -> bytes:
    """Type, version 0 and body: what a box holds."""
    return bytes([message.kind, 0]) + message.body()


def decode(payload: bytes) -> Message:
    """Read what a box held. Raises WireError; UnknownType is to be ignored."""
    read = Reader(payload)
    kind, version = read.u8(), read.u8()
    reader = _READERS.get(kind)
    if reader is None:
        raise UnknownType(f"disco message of type {kind}")
    return reader(read, version)


def _read_ping(read: Reader, _version: int) -> Ping:
    tx_id = read.take(TX_ID_SIZE)
    node_key = NodeKey(read.take(KEY_SIZE)) if read.remaining >= KEY_SIZE else None  # absent up to version 1.16
    return Ping(tx_id, node_key, read.remaining)


def _read_pong(read: Reader, _version: int) -> Pong:
    return Pong(read.take(TX_ID_SIZE), read_address(read))


def _read_call_me_maybe(read: Reader, version: int) -> CallMeMaybe:
    if version or read.remaining % ADDRESS_SIZE:
        return CallMeMaybe(())
    return CallMeMaybe(_read_addresses(read))


def _read_bind(kind: type[Bind]) -> Callable[[Reader, int], Bind]:
    def step(read: Reader, _version: int) -> Bind:
        return kind(read.u32(), read.u32(), DiscoKey(read.take(KEY_SIZE)), read.take(CHALLENGE_SIZE))

    return step


def _read_via(read: Reader, _version: int) -> CallMeMaybeVia:
    return CallMeMaybeVia(_read_relay(read))


def _read_allocate_request(read: Reader, _version: int) -> AllocateRequest:
    return AllocateRequest((_read_key(read), _read_key(read)), read.u32())


def _read_allocate_response(read: Reader, _version: int) -> AllocateResponse:
    return AllocateResponse(read.u32(), _read_relay(read))


def _read_relay(read: Reader) -> RelayEndpoint:
    server, clients = _read_key(read), (_read_key(read), _read_key(read))
    lamport_id, vni, bind, steady = read.u64(), read.u32(), read.u64(), read.u64()
    if not read.remaining or read.remaining % ADDRESS_SIZE:
        raise Malformed(f"expected addresses of {ADDRESS_SIZE} bytes, {read.remaining} bytes are left")
    return RelayEndpoint(server, clients, lamport_id, vni, bind, steady, _read_addresses(read))


def _read_key(read: Reader) -> DiscoKey:
    return DiscoKey(read.take(KEY_SIZE))


def _read_addresses(read: Reader) -> tuple[Endpoint, ...]:
    return tuple(read_address(read) for _ in range(read.remaining // ADDRESS_SIZE))


_READERS: dict[int, Callable[[Reader, int], Message]] = {
    Ping.kind: _read_ping,
    Pong.kind: _read_pong,
    CallMeMaybe.kind: _read_call_me_maybe,
    Bind.kind: _read_bind(Bind),
    BindChallenge.kind: _read_bind(BindChallenge),
    BindAnswer.kind: _read_bind(BindAnswer),
    CallMeMaybeVia.kind: _read_via,
    AllocateRequest.kind: _read_allocate_request,
    AllocateResponse.kind: _read_allocate_response,
    Punch.kind: read_punch,
}


# --- the envelope ----------------------------------------------------------------------------------------------


def is_disco(packet: bytes) -> bool:
    """By magic and size, for sorting datagrams: no promise that it can be opened."""
    return len(packet) >= HEADER_SIZE and packet[: len(MAGIC)] == MAGIC


def sender(packet: bytes) -> DiscoKey:
    """Whose packet it says it is: look the key up before spending anything on the box. Raises WireError."""
    read = Reader(packet)
    read.expect(MAGIC, "the disco magic")
    return DiscoKey(read.take(KEY_SIZE))


class DiscoBox:
    """What two disco keys share. Making one costs an X25519, about 60 us: keep it as long as both keys live."""

    __slots__ = ("_head", "_shared", "peer")

    def __init__(self, own: DiscoPrivate, peer: DiscoKey) -> None:
        """Raises WireError if the peer's key is of low order."""
        self.peer = peer
        self._head = MAGIC + own.public().raw
        try:
            self._shared = crypto_box_beforenm(peer.raw, own.raw)
        except (RuntimeError, CryptoError):
            raise Malformed("the disco key is of low order") from None

    def seal(self, message: Message, nonce: bytes) -> bytes:
        """The packet to send. `nonce`: 24 random bytes for it alone."""
        return self._head + nonce + crypto_box_easy_afternm(encode(message), nonce, self._shared)

    def open(self, packet: bytes) -> Message:
        """Read a packet of the peer's. Raises WireError: NotAuthentic and UnknownType tell apart what to count."""
        if sender(packet) != self.peer:
            raise NotAuthentic("a disco packet of another key")
        read = Reader(packet)
        read.take(len(MAGIC) + KEY_SIZE)
        nonce, box = read.take(NONCE_SIZE), read.rest()
        try:
            payload = crypto_box_open_easy_afternm(box, nonce, self._shared)
        except (CryptoError, ValueError):  # ValueError: no room for the tag
            raise NotAuthentic("the disco box does not open") from None
        return decode(payload)
