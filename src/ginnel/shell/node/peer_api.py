"""The peer API: a small HTTP server on this node's mesh addresses, for its peers alone (tailscale: ipn/ipnlocal/
peerapi.go). It has one answer: what this end knows of the way to whoever asks (docs/protocol/doctor.md).

Room: shell. It listens on the tunnel's device, so nothing comes in by another interface; who asks is known by the
source address, which the tunnel has checked; the packet filter has let them in, or not. An answer is bounded, made from
what is held anyway, and given so often a minute.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from ipaddress import ip_address
from typing import Any
from urllib.parse import parse_qs

import h11
import msgspec

from ginnel import __version__
from ginnel.core.node.bucket import TokenBucket
from ginnel.wire.tailcfg import Service
from ginnel.words import Instant, NodeKey

log = logging.getLogger(__name__)

PATH = b"/v0/doctor"
FROM_PAGES = (b"origin", b"referer", b"sec-fetch-site")
REQUEST_TIME = 5.0
HEAD_LIMIT = 4096
CONNECTIONS, CONNECTIONS_OF_ONE = 32, 4
ANSWERS_BURST, ANSWERS_RATE = 10.0, 0.5  # to one peer
ASKERS_KEPT = 1024
SERVICES = {4: "peerapi4", 6: "peerapi6"}

Answer = tuple[int, bytes]
Testify = Callable[[NodeKey, tuple[int, ...]], Awaitable[bytes | None]]
"""The answer for that peer as JSON, None: there is nothing to say. The regions are to be looked at anew."""

REGIONS_MAX = 4


class PeerApi:
    """`asker`: the peer behind a mesh address, None: nobody who may ask. `changed`: what is advertised may differ."""

    def __init__(
        self,
        tun: str,
        *,
        asker: Callable[[str], NodeKey | None],
        testify: Testify,
        changed: Callable[[], None],
    ) -> None:
        self.services: tuple[Service, ...] = ()
        self._tun = tun
        self._asker = asker
        self.testify = testify
        self._changed = changed
        self._wanted: tuple[object, frozenset[str]] = (None, frozenset())
        self._stirred = asyncio.Event()
        self._open: Counter[NodeKey] = Counter()
        self._limits: dict[NodeKey, TokenBucket] = {}
        self._talking: set[asyncio.Task[None]] = set()

    def follow(self, engine: object, addresses: frozenset[str]) -> None:
        """Listen on these mesh addresses (host prefixes), on the device of this engine. Cheap while nothing changes."""
        if (engine, addresses) != self._wanted:
            self._wanted = (engine, addresses)
            self._stirred.set()

    def hostinfo(self) -> dict[str, Any]:
        """Members of Hostinfo, from which peers know where to ask."""
        return {"Services": [msgspec.to_builtins(service) for service in self.services]} if self.services else {}

    async def run(self) -> None:
        """Until cancelled."""
        servers: list[asyncio.Server] = []
        try:
            while True:
                await self._stirred.wait()
                self._stirred.clear()
                _close(servers)
                servers = await self._listen(self._wanted[1])
                self._changed()
        finally:
            _close(servers)
            for task in self._talking:
                task.cancel()
            await asyncio.gather(*self._talking, return_exceptions=True)

    async def _listen(self, prefixes: frozenset[str]) -> list[asyncio.Server]:
        servers, services = [], []
        for prefix in sorted(prefixes):
            address = prefix.partition("/")[0]
            try:
                listener = _listener(address, self._tun)
            except OSError as error:
                log.info("the peer API cannot listen on %s: %s", address, error.strerror or error)
                continue
            services.append(Service(proto=SERVICES[_version(address)], port=listener.getsockname()[1]))
            servers.append(await asyncio.start_server(self._connected, sock=listener, limit=HEAD_LIMIT))
        self.services = tuple(services)
        return servers

    # --- a conversation ----------------------------------------------------------------------------------------

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._talking.add(task)
        asker = self._asker(str(writer.get_extra_info("peername")[0]))
        try:
            if asker is not None and self._has_room(asker):
                await self._counted(asker, reader, writer)
        except (ConnectionError, TimeoutError, h11.ProtocolError, asyncio.CancelledError):
            return  # gone, too slow, or no HTTP; or the daemon stops
        finally:
            self._talking.discard(task)
            writer.close()

    async def _counted(self, asker: NodeKey, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open[asker] += 1
        try:
            await self._converse(asker, reader, writer)
        finally:
            self._open[asker] -= 1
            self._open += Counter()  # forgets those at zero

    def _has_room(self, asker: NodeKey) -> bool:
        return self._open.total() < CONNECTIONS and self._open[asker] < CONNECTIONS_OF_ONE

    async def _converse(self, asker: NodeKey, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=HEAD_LIMIT)
        async with asyncio.timeout(REQUEST_TIME):
            head = await _head(http, reader)
            status, body = (403, b"{}") if _is_of_a_page(head, writer) else await self._answer(asker, head)
            headers = [
                ("Content-Type", "application/json"),
                ("Content-Length", str(len(body))),
                ("Ginnel-Version", __version__),
                ("Connection", "close"),
            ]
            writer.write(http.send(h11.Response(status_code=status, headers=headers)) or b"")
            writer.write(http.send(h11.Data(data=body)) or b"")
            writer.write(http.send(h11.EndOfMessage()) or b"")
            await writer.drain()

    async def _answer(self, asker: NodeKey, head: h11.Request) -> Answer:
        if head.target.partition(b"?")[0] != PATH:
            return 404, b"{}"
        if head.method != b"GET":
            return 405, b"{}"
        if not self._may_ask(asker):
            return 429, b"{}"
        told = await self.testify(asker, regions_in(head.target))
        return (200, told) if told is not None else (404, b"{}")

    def _may_ask(self, asker: NodeKey) -> bool:
        bucket = self._limits.pop(asker, None) or TokenBucket(ANSWERS_BURST, ANSWERS_RATE)
        self._limits[asker] = bucket
        if len(self._limits) > ASKERS_KEPT:
            del self._limits[next(iter(self._limits))]
        return bucket.take(Instant(asyncio.get_running_loop().time()))


def regions_in(target: bytes) -> tuple[int, ...]:
    """`?region=1,7`: a few relays that who asks does not reach."""
    wanted = parse_qs(target.partition(b"?")[2].decode("latin-1")).get("region", [""])[-1]
    numbers = [
        int(text) for text in wanted.split(",")[:REGIONS_MAX] if text.isascii() and text.isdigit() and len(text) < 6
    ]
    return tuple(dict.fromkeys(numbers))


def _is_of_a_page(head: h11.Request, writer: asyncio.StreamWriter) -> bool:
    """A browser's request, perhaps under a name that leads here for this once (DNS rebinding): who means us names our
    address."""
    ip, port, *_ = writer.get_extra_info("sockname")
    return any(name in FROM_PAGES or (name == b"host" and not _means(value, ip, port)) for name, value in head.headers)


def _means(host: bytes, ip: str, port: int) -> bool:
    address, _, own_port = host.decode("latin-1").rpartition(":")
    try:
        return ip_address(address.strip("[]")) == ip_address(ip) and own_port == str(port)
    except ValueError:
        return False


async def _head(http: h11.Connection, reader: asyncio.StreamReader) -> h11.Request:
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            raise ConnectionResetError
        http.receive_data(await reader.read(HEAD_LIMIT))


def _listener(address: str, tun: str) -> socket.socket:
    """Any port; of the tunnel's device alone. Raises OSError."""
    family = socket.AF_INET6 if _version(address) == 6 else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, tun.encode() + b"\0")
        made.bind((address, 0))
        made.listen(CONNECTIONS)
    except OSError:
        made.close()
        raise
    return made


def _close(servers: list[asyncio.Server]) -> None:
    for server in servers:
        with suppress(OSError):
            server.close()
    servers.clear()


def _version(address: str) -> int:
    return 6 if ":" in address else 4
