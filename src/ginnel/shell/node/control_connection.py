"""One connection to a coordination server, once it stands: HTTP/2 requests inside Noise (control_dial.py makes it).

Room: shell. `ClientChannel` decides everything about the bytes; here is the socket.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from ginnel.core.channel import (
    Body,
    ChannelError,
    ClientChannel,
    Closed,
    Event,
    Opened,
    Pong,
    Reset,
    Response,
    Send,
)
from ginnel.shell.node.dial import Streams
from ginnel.wire.mapstream import ZSTD, MapDecoder
from ginnel.wire.read import WireError

log = logging.getLogger(__name__)

PONG_TIME = 5.0
MAX_ANSWER = 1 << 20


class ControlError(Exception):
    """One line for people."""


class _Stream(Protocol):
    """What one HTTP/2 stream's owner is told. `end` comes last, once; "" for a regular end."""

    def head(self, status: int) -> None: ...
    def data(self, data: bytes) -> None: ...
    def end(self, why: str) -> None: ...


class ControlConnection:
    """When it breaks, every stream's owner is told why, and `closed` is set."""

    def __init__(self, channel: ClientChannel, streams: Streams) -> None:
        self._channel = channel
        self._streams = streams
        self._owners: dict[int, _Stream] = {}
        self._pongs: list[asyncio.Future[None]] = []
        self._opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._reading: asyncio.Task[None] | None = None
        self.closed = False

    @property
    def remote_address(self) -> str:
        """The server's, as text."""
        name: Sequence[Any] = self._streams.writer.get_extra_info("peername") or ("",)
        return str(name[0]).partition("%")[0]

    @property
    def local_address(self) -> str:
        """Ours, as text."""
        name: Sequence[Any] = self._streams.writer.get_extra_info("sockname") or ("",)
        return str(name[0]).partition("%")[0]

    async def start(self) -> None:
        """Finish the handshake. Raises ControlError."""
        self._reading = asyncio.create_task(self._read())
        self._reading.add_done_callback(_tell_crash)
        await self._opened

    async def request(self, method: str, path: str, body: bytes) -> tuple[int, bytes]:
        """Status and body, at most 1 MiB. Raises ControlError."""
        whole = _Whole(asyncio.get_running_loop().create_future())
        number = self._begin(method, path, body, whole)
        try:
            return await whole.done
        finally:
            self._forget(number)

    def stream(self, path: str, body: bytes, on_message: Callable[[bytes], None]) -> MapStream:
        """POST; every message of the answer goes to `on_message`, which may raise WireError to end the stream."""
        taken = MapStream(self, on_message)
        taken.number = self._begin("POST", path, body, taken)
        return taken

    def abandon(self, number: int) -> None:
        """Reset a stream; its owner hears nothing more of it."""
        self._forget(number)

    async def alive(self) -> bool:
        """Whether the server answers an HTTP/2 ping now; if not, the connection is closed."""
        pong = asyncio.get_running_loop().create_future()
        self._pongs.append(pong)
        try:
            self._write(self._channel.ping())
            async with asyncio.timeout(PONG_TIME):
                await pong
        except (TimeoutError, ChannelError):
            self.close("the server no longer answers on this connection")
            return False
        return True

    def close(self, why: str = "closed") -> None:
        """Tell every owner, say goodbye, close the socket. A second time does nothing."""
        if self.closed:
            return
        self.closed = True
        if not self._channel.closed:
            self._streams.writer.write(self._channel.close())
        self._streams.writer.close()
        if self._reading is not None:
            self._reading.cancel()
        if not self._opened.done():
            self._opened.set_exception(ControlError(why))
        for pong in self._pongs:
            pong.cancel()
        owners, self._owners = self._owners, {}
        for owner in owners.values():
            owner.end(why)

    def _begin(self, method: str, path: str, body: bytes, owner: _Stream) -> int:
        try:
            number, data = self._channel.request(method, path, body)
        except ChannelError as error:
            raise ControlError(str(error)) from None
        self._owners[number] = owner
        self._write(data)
        return number

    def _forget(self, number: int) -> None:
        if self._owners.pop(number, None) is not None and not self.closed:
            self._write(self._channel.reset(number))

    def _write(self, data: bytes) -> None:
        if data and not self.closed:
            self._streams.writer.write(data)

    async def _read(self) -> None:
        why = "something went wrong here: see the daemon's log"
        try:
            while data := await self._streams.reader.read(65536):
                for event in self._channel.receive(data):
                    self._take(event)
            why = "the server closed the connection"
        except (OSError, ssl.SSLError) as error:
            why = f"the connection to the server was lost: {error}"
        finally:
            self.close(why)

    def _take(self, event: Event) -> None:
        match event:
            case Send(data):
                self._write(data)
            case Opened():
                self._opened.set_result(None)
            case Pong():
                for pong in self._pongs:
                    if not pong.done():
                        pong.set_result(None)
                self._pongs.clear()
            case Response(stream, status):
                if (owner := self._owners.get(stream)) is not None:
                    owner.head(status)
            case Body(stream, data, ended):
                self._body(stream, data, ended=ended)
            case Reset(stream, reason):
                self._end(stream, f"the server took the answer back: {reason}")
            case Closed(reason):
                self._fail_opening(ControlError(f"the server ended the handshake: {reason}"))
                self.close(f"the connection to the server ended: {reason or 'it said goodbye'}")

    def _fail_opening(self, error: ControlError) -> None:
        if not self._opened.done():
            self._opened.set_exception(error)

    def _body(self, number: int, data: bytes, *, ended: bool) -> None:
        owner = self._owners.get(number)
        if owner is None:
            return
        try:
            owner.data(data)
        except WireError as error:
            self._forget(number)
            owner.end(f"the server's answer cannot be read: {error}")
            return
        if ended:
            self._end(number, "")

    def _end(self, number: int, why: str) -> None:
        if (owner := self._owners.pop(number, None)) is not None:
            owner.end(why)


@dataclass(slots=True)
class _Whole:
    """Gathers one answer."""

    done: asyncio.Future[tuple[int, bytes]]
    status: int = 0
    body: bytearray = field(default_factory=bytearray)

    def head(self, status: int) -> None:
        self.status = status

    def data(self, data: bytes) -> None:
        self.body += data
        if len(self.body) > MAX_ANSWER:
            raise WireError(f"longer than {MAX_ANSWER} bytes")

    def end(self, why: str) -> None:
        if self.done.done():
            return
        if why:
            self.done.set_exception(ControlError(why))
        else:
            self.done.set_result((self.status, bytes(self.body)))


class MapStream:
    """The long answer of `/machine/map`. `done` ends with why it ended."""

    def __init__(self, connection: ControlConnection, on_message: Callable[[bytes], None]) -> None:
        self.number = 0
        self.done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._connection = connection
        self._on_message = on_message
        self._decoder = MapDecoder(ZSTD)
        self._refusal: bytearray | None = None
        self._status = 0

    def head(self, status: int) -> None:
        self._status = status
        self._refusal = None if status == 200 else bytearray()

    def data(self, data: bytes) -> None:
        if self._refusal is not None:
            self._refusal += data[: 200 - len(self._refusal)]
            return
        for message in self._decoder.feed(data):
            self._on_message(message)

    def end(self, why: str) -> None:
        if self._refusal is not None:
            why = http_error(self._status, bytes(self._refusal))
        if not self.done.done():
            self.done.set_result(why or "the server ended the map stream")

    def abandon(self) -> None:
        self._connection.abandon(self.number)
        self.end("given up")


def _tell_crash(task: asyncio.Task[None]) -> None:
    """A fault of ours while a frame was taken: the connection is closed, the log says where."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("reading from the server failed", exc_info=error)


def http_error(status: int, body: bytes) -> str:
    words = "".join(c if c.isprintable() else " " for c in body[:200].decode("utf-8", "replace")).strip()
    return f"the server answered HTTP {status}" + (f": {words}" if words else "")
