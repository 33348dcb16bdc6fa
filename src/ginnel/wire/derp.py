"""DERP: frames between a relay and its clients, and the HTTP request that begins them (tailscale: derp/derp.go,
derp/derphttp, derp/derpserver).

Room: wire. Bytes become messages and back; nonces are arguments. No sockets, clocks, randomness or logs come in.

    type(1) length(4) | body

    client                                    relay
      GET /derp, Upgrade: DERP          ->
                                        <-  101, or nothing after a fast start
                                        <-  ServerKey
      ClientInfo (key, sealed JSON)     ->
                                        <-  ServerInfo (sealed JSON)
      NotePreferred, SendPacket, Ping   ->
                                        <-  RecvPacket, KeepAlive, PeerGone, Pong, ...

Types that are not known are skipped, as are bytes after those that a frame needs, but for NotePreferred.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

from ginnel.wire.address import ADDRESS_SIZE, read_address, write_address
from ginnel.wire.read import Malformed, Reader
from ginnel.words import KEY_SIZE, Endpoint, NodeKey

MAGIC = b"DERP\xf0\x9f\x94\x91"
PROTOCOL_VERSION = 2
HEADER_SIZE = 5
NONCE_SIZE = 24
PACKET_LIMIT = 64 << 10  # bytes of a forwarded packet
FRAME_LIMIT = 1 << 20  # what a client bears from its relay
LOGIN_LIMIT = 4 << 10  # what our relay bears of a client that is not logged in yet; others bear 256 KiB
PING_SIZE = 8
PING_LIMIT = 1000

REGULAR, MESH_PEER, PROBER, NOT_IDEAL = 1, 2, 4, 8  # PeerPresent.flags
DISCONNECTED, NOT_HERE = 0, 1  # PeerGone.reason


@dataclass(frozen=True, slots=True)
class ServerKey:
    """The relay's first frame. More bytes may follow the key."""

    key: NodeKey
    kind: ClassVar[int] = 0x01

    def body(self) -> bytes:
        return MAGIC + self.key.raw


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """The client's first frame; `sealed` opens with `open_client_info`, which proves that the key is its own."""

    key: NodeKey
    nonce: bytes
    sealed: bytes
    kind: ClassVar[int] = 0x02

    def body(self) -> bytes:
        return self.key.raw + self.nonce + self.sealed


@dataclass(frozen=True, slots=True)
class ServerInfo:
    nonce: bytes
    sealed: bytes
    kind: ClassVar[int] = 0x03

    def body(self) -> bytes:
        return self.nonce + self.sealed


@dataclass(frozen=True, slots=True)
class SendPacket:
    destination: NodeKey
    packet: bytes
    kind: ClassVar[int] = 0x04

    def body(self) -> bytes:
        return self.destination.raw + self.packet


@dataclass(frozen=True, slots=True)
class RecvPacket:
    """`source` is written by the relay: it is the key that logged in."""

    source: NodeKey
    packet: bytes
    kind: ClassVar[int] = 0x05

    def body(self) -> bytes:
        return self.source.raw + self.packet


@dataclass(frozen=True, slots=True)
class KeepAlive:
    kind: ClassVar[int] = 0x06

    def body(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class NotePreferred:
    home: bool
    kind: ClassVar[int] = 0x07

    def body(self) -> bytes:
        return b"\1" if self.home else b"\0"


@dataclass(frozen=True, slots=True)
class PeerGone:
    peer: NodeKey
    reason: int = DISCONNECTED
    kind: ClassVar[int] = 0x08

    def body(self) -> bytes:
        return self.peer.raw + bytes([self.reason])


@dataclass(frozen=True, slots=True)
class PeerPresent:
    """To those who watch. Older relays leave out the flags, or the address too."""

    peer: NodeKey
    source: Endpoint | None = None
    flags: int = 0
    kind: ClassVar[int] = 0x09

    def body(self) -> bytes:
        return self.peer.raw + (write_address(self.source) + bytes([self.flags]) if self.source else b"")


@dataclass(frozen=True, slots=True)
class ForwardPacket:
    source: NodeKey
    destination: NodeKey
    packet: bytes
    kind: ClassVar[int] = 0x0A

    def body(self) -> bytes:
        return self.source.raw + self.destination.raw + self.packet


@dataclass(frozen=True, slots=True)
class WatchConns:
    kind: ClassVar[int] = 0x10

    def body(self) -> bytes:
        return b""


@dataclass(frozen=True, slots=True)
class ClosePeer:
    peer: NodeKey
    kind: ClassVar[int] = 0x11

    def body(self) -> bytes:
        return self.peer.raw


@dataclass(frozen=True, slots=True)
class Ping:
    data: bytes
    kind: ClassVar[int] = 0x12

    def body(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class Pong:
    data: bytes
    kind: ClassVar[int] = 0x13

    def body(self) -> bytes:
        return self.data


@dataclass(frozen=True, slots=True)
class Health:
    """What the relay says is wrong with this connection; "" says that it is well again."""

    problem: str
    kind: ClassVar[int] = 0x14

    def body(self) -> bytes:
        return self.problem.encode()


@dataclass(frozen=True, slots=True)
class Restarting:
    """Milliseconds: when to reconnect, and for how long to try."""

    reconnect_in: int
    try_for: int
    kind: ClassVar[int] = 0x15

    def body(self) -> bytes:
        return self.reconnect_in.to_bytes(4, "big") + self.try_for.to_bytes(4, "big")


Message = (
    ServerKey
    | ClientInfo
    | ServerInfo
    | SendPacket
    | RecvPacket
    | KeepAlive
    | NotePreferred
    | PeerGone
    | PeerPresent
    | ForwardPacket
    | WatchConns
    | ClosePeer
    | Ping
    | Pong
    | Health
    | Restarting
)


def frame(message: Message) -> bytes:
    """The whole frame of a message."""
    body = message.body()
    return bytes([message.kind]) + len(body).to_bytes(4, "big") + body


def parse(kind: int, body: bytes) -> Message | None:
    """Read a frame's body; None for a type that is not known, to be skipped. Raises WireError."""
    reader = _READERS.get(kind)
    return None if reader is None else reader(Reader(body))


class FrameReader:
    """Gathers frames from a byte stream in any pieces."""

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int = FRAME_LIMIT) -> None:
        """`limit`: the longest body in bytes; raise it once a client has logged in."""
        self.limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, bytes]]:
        """Yield (type, body) of each frame that is complete now. Exhaust it. Raises Malformed at a frame over the
        limit, before its body has come; nothing can follow that."""
        self._buffer += data
        while len(self._buffer) >= HEADER_SIZE:
            size = int.from_bytes(self._buffer[1:HEADER_SIZE], "big")
            if size > self.limit:
                raise Malformed(f"expected a DERP frame of at most {self.limit} bytes, got {size}")
            end = HEADER_SIZE + size
            if len(self._buffer) < end:
                return
            kind, body = self._buffer[0], bytes(self._buffer[HEADER_SIZE:end])
            del self._buffer[:end]
            yield kind, body


def _key(read: Reader) -> NodeKey:
    return NodeKey(read.take(KEY_SIZE))


def _read_server_key(read: Reader) -> ServerKey:
    read.expect(MAGIC, "the DERP magic")
    return ServerKey(_key(read))


def _read_client_info(read: Reader) -> ClientInfo:
    return ClientInfo(_key(read), read.take(NONCE_SIZE), read.rest())


def _read_send_packet(read: Reader) -> SendPacket:
    return SendPacket(_key(read), _packet(read))


def _read_forward_packet(read: Reader) -> ForwardPacket:
    return ForwardPacket(_key(read), _key(read), _packet(read))


def _packet(read: Reader) -> bytes:
    if read.remaining > PACKET_LIMIT:
        raise Malformed(f"expected a packet of at most {PACKET_LIMIT} bytes, got {read.remaining}")
    return read.rest()


def _read_note_preferred(read: Reader) -> NotePreferred:
    if read.remaining != 1:
        raise Malformed(f"expected 1 byte of preference, got {read.remaining}")
    return NotePreferred(read.u8() != 0)


def _read_peer_gone(read: Reader) -> PeerGone:
    return PeerGone(_key(read), read.u8() if read else DISCONNECTED)


def _read_peer_present(read: Reader) -> PeerPresent:
    peer = _key(read)
    source = read_address(read) if read.remaining >= ADDRESS_SIZE else None
    return PeerPresent(peer, source, read.u8() if source and read else 0)


def _read_ping(read: Reader) -> Ping:
    if read.remaining > PING_LIMIT:
        raise Malformed(f"expected a ping of at most {PING_LIMIT} bytes, got {read.remaining}")
    return Ping(read.take(PING_SIZE))


def _read_health(read: Reader) -> Health:
    return Health(read.rest().decode("utf-8", "replace"))


_READERS: dict[int, Callable[[Reader], Message]] = {
    ServerKey.kind: _read_server_key,
    ClientInfo.kind: _read_client_info,
    ServerInfo.kind: lambda read: ServerInfo(read.take(NONCE_SIZE), read.rest()),
    SendPacket.kind: _read_send_packet,
    RecvPacket.kind: lambda read: RecvPacket(_key(read), _packet(read)),
    KeepAlive.kind: lambda _read: KeepAlive(),
    NotePreferred.kind: _read_note_preferred,
    PeerGone.kind: _read_peer_gone,
    PeerPresent.kind: _read_peer_present,
    ForwardPacket.kind: _read_forward_packet,
    WatchConns.kind: lambda _read: WatchConns(),
    ClosePeer.kind: lambda read: ClosePeer(_key(read)),
    Ping.kind: _read_ping,
    Pong.kind: lambda read: Pong(read.take(PING_SIZE)),
    Health.kind: _read_health,
    Restarting.kind: lambda read: Restarting(read.u32(), read.u32()),
}
