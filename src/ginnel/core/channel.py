"""The ts2021 control channel, both ends: a Noise handshake, an optional challenge, then HTTP/2 in Noise records
(tailscale: control/controlbase, control/controlhttp, control/ts2021).

Room: core, sans-IO. Bytes of the socket and calls go in, events and bytes come out; ephemeral keys are arguments. No
sockets, clocks, randomness or logs come in.

Records are counted, so bytes must be written in the order in which they were returned. `receive` therefore puts all
it wants written into one `Send`, first in its list, sealed before any answer that the following events call for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ginnel.core.exchange import Exchanges
from ginnel.core.streams import (
    Body,
    ChannelError,
    Closed,
    Exchange,
    Limits,
    Pong,
    Request,
    Reset,
    Response,
    SlowReader,
    StreamGone,
    Writable,
)
from ginnel.wire import noise
from ginnel.wire.read import Malformed, WireError
from ginnel.wire.tailcfg import EarlyNoise, decode, encode
from ginnel.words import ChallengeKey, MachineKey, MachinePrivate

__all__ = [
    "Body",
    "Challenged",
    "ChannelError",
    "ClientChannel",
    "Closed",
    "Event",
    "Limits",
    "Opened",
    "Pong",
    "Request",
    "Reset",
    "Response",
    "Send",
    "ServerChannel",
    "SlowReader",
    "StreamGone",
    "Writable",
]

EARLY_MAGIC = b"\xff\xff\xffTS"
EARLY_HEADER = len(EARLY_MAGIC) + 4
EARLY_LIMIT = 64 << 10  # the body we bear; tailscale-rs bears 1,024 bytes, Go 10 MiB; servers send 95
ANSWERS_WITHOUT_LIMIT = Limits(body=None)  # a node's own server may stream a map for months


@dataclass(frozen=True, slots=True)
class Send:
    """Bytes to write to the socket, before those of any later call."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Opened:
    """The handshake is done: requests can be made."""


@dataclass(frozen=True, slots=True)
class Challenged:
    """The server's early payload."""

    key: ChallengeKey


Event = Send | Opened | Challenged | Exchange


class _Channel(ABC):
    """What both ends do once records flow."""

    _session: noise.Session | None = None
    _exchanges: Exchanges

    def receive(self, data: bytes) -> list[Event]:
        """Take what the socket gave, in any pieces. Closed, where it comes, is last; nothing follows it."""
        if self.closed:
            return []
        events: list[Event] = []
        plaintext: list[bytes] = []
        try:
            for piece in self._open(data, events, plaintext):
                came, out = self._exchanges.receive(piece)
                events += came
                plaintext.append(out)
                if self.closed:
                    break
        except WireError as error:
            events.append(self._exchanges.end(str(error)))
        sealed = self._seal(b"".join(plaintext)) if self._session else b""
        return [Send(sealed), *events] if sealed else events

    @abstractmethod
    def _open(self, data: bytes, events: list[Event], plaintext: list[bytes]) -> Iterator[bytes]:
        """What came, decrypted, record by record."""

    @property
    def closed(self) -> bool:
        return self._exchanges.closed

    def send(self, stream: int, data: bytes, end: bool = False) -> bytes:
        """More of a body; bytes to write now, maybe none: the rest waits for the peer to read (then Writable comes).

        Raises StreamGone when the peer has left, SlowReader when it reads too slowly: reset the stream then."""
        return self._seal(self._exchanges.send(stream, data, end))

    def waiting(self) -> int:
        """Bytes of all streams that wait for the peer to read."""
        return self._exchanges.waiting()

    def reset(self, stream: int) -> bytes:
        """Take a stream back; one that is gone needs nothing written."""
        return self._seal(self._exchanges.reset(stream))

    def ping(self) -> bytes:
        """Ask for a Pong. Raises ChannelError."""
        return self._seal(self._exchanges.ping())

    def close(self) -> bytes:
        """Say goodbye; write this, then close the socket."""
        return self._seal(self._exchanges.close()) if self._session else b""

    def _seal(self, plaintext: bytes) -> bytes:
        if self._session is None:
            raise ChannelError("the handshake is not done")
        return self._session.sealer.seal(plaintext)


class ServerChannel(_Channel):
    """The server's end of one connection. `accept` comes first; `machine` and `version` are known after it."""

    machine: MachineKey
    version: int

    def __init__(
        self, server: MachinePrivate, ephemeral: bytes, challenge: ChallengeKey | None, limits: Limits | None = None
    ) -> None:
        """`ephemeral`: 32 random bytes for this connection alone. `challenge`: sent as the early payload."""
        self._server = server
        self._ephemeral = ephemeral
        self._challenge = challenge
        self._exchanges = Exchanges(client=False, limits=limits or Limits())

    def accept(self, initiation: bytes) -> bytes:
        """Bytes to write right after the 101: response, early payload and our settings.

        Raises WireError when the initiation is not in order: answer HTTP 400 then."""
        if self._session is not None:
            raise ChannelError("the handshake is done")
        accepted = noise.accept(self._server, self._ephemeral, initiation)
        self._ephemeral = b""
        self.machine, self.version, self._session = accepted.machine, accepted.version, accepted.session
        early = early_payload(self._challenge) if self._challenge else b""
        return accepted.response + self._seal(early) + self._seal(self._exchanges.open())

    def respond(
        self, stream: int, status: int, headers: Iterable[tuple[str, str]] = (), body: bytes = b"", end: bool = True
    ) -> bytes:
        """Answer a request; with `end=False` more follows by `send`. Header names are lower case.

        Raises StreamGone, SlowReader."""
        head = [(":status", str(status)), *headers]
        if end:
            head.append(("content-length", str(len(body))))
        return self._seal(self._exchanges.respond(stream, head, body, end))

    def _open(self, data: bytes, events: list[Event], plaintext: list[bytes]) -> Iterator[bytes]:  # noqa: ARG002
        if self._session is None:
            raise ChannelError("the handshake is not done")
        return self._session.opener.feed(data)


class ClientChannel(_Channel):
    """The node's end of one connection. `initiation` goes into the upgrade request; then everything read after the
    101's head goes into `receive`, and requests can be made once Opened came."""

    def __init__(
        self,
        machine: MachinePrivate,
        server_key: MachineKey,
        version: int,
        ephemeral: bytes,
        *,
        authority: str = "unused",
        limits: Limits = ANSWERS_WITHOUT_LIMIT,
    ) -> None:
        """`ephemeral`: 32 random bytes for this connection alone. Raises WireError if the server's key is bad."""
        self._initiator = noise.Initiator(machine, server_key, version, ephemeral)
        self._authority = authority
        self._exchanges = Exchanges(client=True, limits=limits)
        self._early: bytes | None = b""  # what came before HTTP/2 began; None: it has begun

    def initiation(self) -> bytes:
        """101 bytes; their standard base64 is the X-Tailscale-Handshake header."""
        return self._initiator.initiation

    def request(
        self, method: str, path: str, body: bytes = b"", headers: Iterable[tuple[str, str]] = ()
    ) -> tuple[int, bytes]:
        """(the new stream, bytes to write). Header names are lower case. Raises ChannelError."""
        if self._session is None:
            raise ChannelError("the handshake is not done")
        head = [(":method", method), (":scheme", "https"), (":authority", self._authority), (":path", path), *headers]
        if body:
            head.append(("content-length", str(len(body))))
        stream, plaintext = self._exchanges.request(head, body)
        return stream, self._seal(plaintext)

    def _open(self, data: bytes, events: list[Event], plaintext: list[bytes]) -> Iterator[bytes]:
        if self._session is None:
            answer = noise.split_answer(self._unread(data))
            if answer is None:
                return
            self._session = self._initiator.finish(answer[0])
            self._early, data = b"", answer[1]
            events.append(Opened())
            plaintext.append(self._exchanges.open())
        for piece in self._session.opener.feed(data):
            yield piece if self._early is None else self._skip_early(piece, events)

    def _unread(self, data: bytes) -> bytes:
        """Until the handshake is done `_early` holds the beginning of the server's answer."""
        self._early = (self._early or b"") + data
        return self._early

    def _skip_early(self, piece: bytes, events: list[Event]) -> bytes:
        """Take the early payload off the front of HTTP/2; it may span records, or not be there at all."""
        early = (self._early or b"") + piece
        if early[: len(EARLY_MAGIC)] != EARLY_MAGIC[: len(early)]:
            self._early = None
            return early
        self._early = early
        size = int.from_bytes(early[len(EARLY_MAGIC) : EARLY_HEADER], "big") if len(early) >= EARLY_HEADER else 0
        if size > EARLY_LIMIT:
            raise Malformed(f"the early payload is {size} bytes long, at most {EARLY_LIMIT} are read")
        if len(early) < EARLY_HEADER + size or len(early) < EARLY_HEADER:
            return b""
        events.append(Challenged(decode(EarlyNoise, early[EARLY_HEADER : EARLY_HEADER + size]).node_key_challenge))
        self._early = None
        return early[EARLY_HEADER + size :]


def early_payload(challenge: ChallengeKey) -> bytes:
    """Magic, length and JSON: what a server may say before HTTP/2 begins."""
    body = encode(EarlyNoise(challenge))
    return EARLY_MAGIC + len(body).to_bytes(4, "big") + body
