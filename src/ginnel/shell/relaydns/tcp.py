"""DNS by TCP (RFC 7766): bounded in connections, sizes and time.

Room: shell.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from typing import cast

from ginnel.core.relaydns.limit import prefix_of
from ginnel.shell.relaydns.udp import Ask

IDLE = 10.0
"""Seconds for one query to come in whole; a byte now and then does not make it longer."""
LIFETIME = 60.0
MAX_QUERY = 4096
MAX_QUERIES = 200
"""On one connection: secondaries and resolvers that want more open another."""
MAX_CONNECTIONS = 256
MAX_PER_PREFIX = 16


class TcpDoor:
    """Counts who is in. `ask` answers; `counters` tells why connections ended early."""

    def __init__(self, ask: Ask, counters: Counter[str], idle: float = IDLE, lifetime: float = LIFETIME) -> None:
        self.ask = ask
        self.counters = counters
        self.idle = idle
        self.lifetime = lifetime
        self.connections: set[DnsProtocol] = set()
        self._per_prefix: Counter[bytes] = Counter()

    def admit(self, connection: DnsProtocol, prefix: bytes) -> bool:
        if len(self.connections) >= MAX_CONNECTIONS or self._per_prefix[prefix] >= MAX_PER_PREFIX:
            self.counters["tcp refused"] += 1
            return False
        self.connections.add(connection)
        self._per_prefix[prefix] += 1
        return True

    def leave(self, connection: DnsProtocol, prefix: bytes) -> None:
        self.connections.discard(connection)
        self._per_prefix[prefix] -= 1
        if not self._per_prefix[prefix]:
            del self._per_prefix[prefix]

    def close(self) -> None:
        for connection in list(self.connections):
            connection.abort()


class DnsProtocol(asyncio.Protocol):
    """Queries in, answers out in their order. While the client does not read, nothing more of it is read."""

    def __init__(self, door: TcpDoor) -> None:
        self._door = door
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._buffer = bytearray()
        self._source = b""
        self._admitted = False
        self._full = False
        self._queries = 0
        self._timers: dict[str, asyncio.TimerHandle] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername")
        if not peer:
            self._transport.abort()
            return
        family = socket.AF_INET6 if ":" in peer[0] else socket.AF_INET
        self._source = socket.inet_pton(family, peer[0].partition("%")[0])
        self._admitted = self._door.admit(self, prefix_of(self._source))
        if not self._admitted:
            self._transport.abort()
            return
        self._timers["life"] = self._loop.call_later(self._door.lifetime, self._end, "tcp lived long enough")
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        for timer in self._timers.values():
            timer.cancel()
        self._buffer.clear()
        if self._admitted:
            self._door.leave(self, prefix_of(self._source))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._work()

    def eof_received(self) -> bool:
        """Answers that are still being written go out; the transport closes behind them."""
        return False

    def pause_writing(self) -> None:
        self._full = True
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._full = False
        self._transport.resume_reading()
        self._work()

    def abort(self) -> None:
        self._transport.abort()

    def _work(self) -> None:
        while not self._full and len(self._buffer) >= 2 and not self._transport.is_closing():
            size = self._buffer[0] << 8 | self._buffer[1]
            if size > MAX_QUERY:
                self._end("tcp query too long")
            elif len(self._buffer) < 2 + size:
                return
            else:
                packet = bytes(self._buffer[2 : 2 + size])
                del self._buffer[: 2 + size]
                self._answer(packet)

    def _answer(self, packet: bytes) -> None:
        self._queries += 1
        answers = self._door.ask(packet, self._source)
        if answers:
            self._transport.write(b"".join(len(answer).to_bytes(2, "big") + answer for answer in answers))
        if not answers or self._queries >= MAX_QUERIES:
            self._transport.close()
        else:
            self._wait()

    def _wait(self) -> None:
        if "idle" in self._timers:
            self._timers["idle"].cancel()
        self._timers["idle"] = self._loop.call_later(self._door.idle, self._end, "tcp idle")

    def _end(self, why: str) -> None:
        self._door.counters[why] += 1
        self._transport.abort()
