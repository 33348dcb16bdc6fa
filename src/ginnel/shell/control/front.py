"""The first bytes of a connection: a PROXY preamble where one is due, then the head of a request; `/ts2021` is taken
over for the control channel, everything else goes to the ASGI server.

Room: shell. uvicorn cannot hand over an upgraded connection, so it only sees those it can answer whole. One request
is read of each connection (`Connection: close` after it): heads after the first would pass by the limits here. The log
host's alone stay open, within h11's limits: a client that has to dial for each upload writes a line about it into its
log, which is the next upload.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ginnel.core.control import limits
from ginnel.shell.control.connection import ControlConnection
from ginnel.wire.proxyv2 import parse_preamble
from ginnel.wire.read import WireError

log = logging.getLogger("ginnel.control")

UPGRADE = b"tailscale-control-protocol"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tailscale-control-protocol\r\nConnection: upgrade\r\n\r\n"
PLAIN_LIFETIME = 60.0
"""Seconds that a connection which is not a control channel may live: one request and its answer."""

KEPT_LIFETIME = 3600.0
"""The same where more requests may follow; uvicorn closes it when none comes for KEEP_ALIVE seconds."""

KEEP_ALIVE = 30


@dataclass(slots=True)
class Doorkeeper:
    """Counts who is inside. `channel` makes a control connection for a source; its second argument is called when that
    one is gone. `kept`: where paths begin whose connections stay open for more requests."""

    channel: Callable[[str, Callable[[], None]], ControlConnection]
    config: Config
    state: ServerState = field(default_factory=ServerState)
    inside: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    kept: tuple[bytes, ...] = ()
    kept_state: ServerState = field(default_factory=ServerState)
    transports: set[asyncio.Transport] = field(default_factory=set)

    def enter(self, source: str) -> bool:
        if self.inside.total() >= limits.MAX_CONNECTIONS or self.inside[source] >= limits.MAX_CONNECTIONS_PER_SOURCE:
            self.refused["too many connections"] += 1
            return False
        self.inside[source] += 1
        return True

    def leave(self, source: str) -> None:
        self.inside[source] -= 1
        if self.inside[source] <= 0:
            del self.inside[source]


def source_of(address: str) -> str:
    """Who is counted together: an IPv4 address, an IPv6 /64, everybody who has no address (a unix socket)."""
    try:
        ip = ip_address(address.partition("%")[0])
    except ValueError:
        return "local"
    if isinstance(ip, IPv6Address):
        return str(ip.ipv4_mapped or ip_network((ip, 64), strict=False))
    return str(ip)


class FrontProtocol(asyncio.Protocol):
    """`spliced`: every connection begins with a PROXY preamble; without one it is closed."""

    def __init__(self, keeper: Doorkeeper, *, spliced: bool = False) -> None:
        self._keeper = keeper
        self._expects_preamble = spliced
        self._buffer = b""
        self._source = ""
        self._address: tuple[str, int] | None = None
        self._tls = False
        self._entered = False
        self._handed_over = False
        self._deadline: asyncio.TimerHandle | None = None
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport = transport
        self._keeper.transports.add(transport)
        self._deadline = asyncio.get_running_loop().call_later(limits.HEAD_TIMEOUT, self._too_slow)
        peer = transport.get_extra_info("peername")
        if not self._expects_preamble:
            self._enter((str(peer[0]), int(peer[1])) if isinstance(peer, tuple) and len(peer) >= 2 else None)

    def _enter(self, address: tuple[str, int] | None) -> None:
        self._address = address
        self._source = source_of(address[0]) if address is not None else "local"
        self._entered = self._keeper.enter(self._source)
        if not self._entered:
            self._transport.abort()

    def _too_slow(self) -> None:
        self._keeper.refused["slow head"] += 1
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if not self._handed_over:
            self._leave()

    def _leave(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._keeper.transports.discard(self._transport)
        if self._entered:
            self._keeper.leave(self._source)
            self._entered = False

    def eof_received(self) -> bool:
        return False

    # --- bytes -----------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._expects_preamble and not self._read_preamble():
            return
        if not self._entered:
            return
        end = self._buffer.find(b"\r\n\r\n")
        if end >= 0 and end + 4 <= limits.MAX_HEAD:
            self._read_head(self._buffer[: end + 4])
        elif len(self._buffer) > limits.MAX_HEAD:
            self._refuse(431, "request head too large")
        elif not _begins_like_http(self._buffer):
            self._refuse(400, "not an HTTP request")

    def _read_preamble(self) -> bool:
        try:
            read = parse_preamble(self._buffer)
        except WireError:
            self._keeper.refused["bad preamble"] += 1
            self._transport.abort()
            return False
        if read is None:
            return False
        preamble, size = read
        self._expects_preamble = False
        self._buffer = self._buffer[size:]
        self._tls = preamble.tls
        self._enter(preamble.source)
        return True

    def _read_head(self, head: bytes) -> None:
        request = _Head()
        try:
            parser = httptools.HttpRequestParser(request)
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError:
            self._refuse(400, "not an HTTP request")
            return
        if request.path == b"/ts2021":
            self._take_over(parser.get_method(), request, self._buffer[len(head) :])
        else:
            self._pass_on(kept=request.path.startswith(self._keeper.kept))

    def _take_over(self, method: bytes, request: _Head, early: bytes) -> None:
        handshake = request.headers.get(b"x-tailscale-handshake")
        if method != b"POST":
            self._refuse(405, "the control channel is opened by POST")
        elif request.headers.get(b"upgrade", b"").lower() != UPGRADE:
            self._refuse(400, "missing Upgrade: tailscale-control-protocol")
        elif handshake is None:
            self._refuse(400, "missing Tailscale handshake header")
        else:
            self._open_channel(handshake, early)

    def _open_channel(self, handshake: bytes, early: bytes) -> None:
        connection = self._keeper.channel(self._source, self._leave)
        try:
            answer = connection.accept(base64.b64decode(handshake, validate=True))
        except (WireError, binascii.Error):
            self._refuse(400, "invalid Tailscale handshake header")
            return
        self._hand_over(connection)
        self._transport.write(SWITCHING + answer)
        connection.start(self._transport, early)

    def _hand_over(self, protocol: asyncio.Protocol) -> None:
        self._handed_over = True
        if self._deadline is not None:
            self._deadline.cancel()
        self._transport.set_protocol(protocol)

    def _pass_on(self, *, kept: bool) -> None:
        buffered = self._buffer
        state = self._keeper.kept_state if kept else self._keeper.state
        http = _Http(self._keeper.config, state, self._leave, self._address, tls=self._tls)
        self._hand_over(http)
        lifetime = KEPT_LIFETIME if kept else PLAIN_LIFETIME
        self._deadline = asyncio.get_running_loop().call_later(lifetime, self._transport.abort)
        http.connection_made(self._transport)
        http.data_received(buffered)

    def _refuse(self, status: int, text: str) -> None:
        self._keeper.refused[text] += 1
        body = text.encode() + b"\n"
        head = f"HTTP/1.1 {status} {REASONS[status]}\r\nContent-Type: text/plain; charset=utf-8\r\n"
        self._transport.write(f"{head}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body)
        self._transport.close()


REASONS = {400: "Bad Request", 405: "Method Not Allowed", 431: "Request Header Fields Too Large"}


def _begins_like_http(data: bytes) -> bool:
    """A method in capitals: what cannot become a request is closed at once instead of after the head's deadline."""
    method = data[:16].partition(b" ")[0]
    return method.isalpha() and method.isupper() and len(method) < 16


class _Head:
    """What httptools calls back with."""

    def __init__(self) -> None:
        self.path = b""
        self.headers: dict[bytes, bytes] = {}

    def on_url(self, url: bytes) -> None:
        self.path = url.partition(b"?")[0]

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.lower()] = value


class _Http(H11Protocol):
    """uvicorn's protocol, told who the client behind the splice is."""

    def __init__(
        self,
        config: Config,
        state: ServerState,
        closed: Callable[[], None],
        address: tuple[str, int] | None,
        *,
        tls: bool,
    ) -> None:
        super().__init__(config=config, server_state=state, app_state={})
        self._closed = closed
        self._address = address
        self._tls = tls

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.client = self._address
        self.scheme = "https" if self._tls else "http"

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._closed()
