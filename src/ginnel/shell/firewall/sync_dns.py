"""Asking a recursive resolver for one name's addresses with their TTL, which the system's resolver does not tell
(RFC 1035 §4.2, RFC 5452 §9: an id and a port that cannot be guessed, the question looked at in each answer).

Room: shell.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.sync_answers import answer_in
from ginnel.core.firewall.sync_words import Answer, Question
from ginnel.wire.dns import AAAA, QUERY, RD, TC, A, header, name_of, opt_bytes, question_bytes
from ginnel.wire.read import WireError

PORT = 53
PATIENCE = 3.0
ROUNDS = 2
UDP_SIZE = 1232  # passes everywhere without fragments
TCP_LIMIT = 65535
RESOLV_CONF = Path("/etc/resolv.conf")
SERVERS_MOST = 3
QUEUED = 16
Address = tuple[str, int]


class DnsError(Exception):
    """One line: why there is no answer."""


@dataclass(frozen=True, slots=True)
class Resolvers:
    """`servers`: () for those of resolv.conf, which may change while we run."""

    trust: Callable[[], Trust]
    servers: tuple[Address, ...] = ()
    patience: float = PATIENCE

    async def ask(self, question: Question) -> Answer:
        """The first answer of use, asking one server after the other, twice. Raises DnsError."""
        why = "no resolver is configured"
        for server in (self.servers or configured()) * ROUNDS:
            try:
                async with asyncio.timeout(self.patience):
                    return await self._ask(question, server)
            except TimeoutError:
                why = f"{server[0]} does not answer"
            except WireError as error:
                why = f"{server[0]}: {error}"
            except OSError as error:
                why = f"{server[0]}: {error.strerror or error}"
        raise DnsError(why)

    async def _ask(self, question: Question, server: Address) -> Answer:
        ident = secrets.randbits(16)
        query = query_of(question, ident)
        packet = await _by_udp(query, server)
        if packet[2] & TC >> 8:
            packet = await _by_tcp(query, server)
        return answer_in(packet, question, self.trust())


def query_of(question: Question, ident: int) -> bytes:
    """With recursion. Raises WireError for a name that is none."""
    body = question_bytes(name_of(question.name), A if question.family == 4 else AAAA)
    return header(ident, QUERY << 11 | RD, 1, (0, 0, 1)) + body + opt_bytes(UDP_SIZE)


class _Heard(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.packets: asyncio.Queue[bytes | OSError] = asyncio.Queue(QUEUED)

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002
        self._put(data)

    def error_received(self, exc: Exception) -> None:
        self._put(exc if isinstance(exc, OSError) else OSError(str(exc)))

    def _put(self, heard: bytes | OSError) -> None:
        if not self.packets.full():
            self.packets.put_nowait(heard)


async def _by_udp(query: bytes, server: Address) -> bytes:
    """A socket for each question: its port is a secret too. What answers something else is passed over."""
    loop = asyncio.get_running_loop()
    transport, heard = await loop.create_datagram_endpoint(_Heard, remote_addr=server)
    try:
        transport.sendto(query)
        while True:
            packet = await heard.packets.get()
            if isinstance(packet, OSError):
                raise packet
            if _belongs(packet, query):
                return packet
    finally:
        transport.close()


def _belongs(packet: bytes, query: bytes) -> bool:
    """The same id, and an answer. Its question is compared when it is read; most forgers know neither."""
    return len(packet) >= 12 and packet[:2] == query[:2] and bool(packet[2] & 0x80)


async def _by_tcp(query: bytes, server: Address) -> bytes:
    try:
        reader, writer = await asyncio.open_connection(*server)
        try:
            writer.write(len(query).to_bytes(2, "big") + query)
            size = int.from_bytes(await reader.readexactly(2), "big")
            packet = await reader.readexactly(size)
        finally:
            writer.close()
    except asyncio.IncompleteReadError:
        raise OSError(0, "the answer by TCP is cut") from None
    if not _belongs(packet, query):
        raise OSError(0, "the answer by TCP is to something else")
    return packet


def configured(path: Path = RESOLV_CONF) -> tuple[Address, ...]:
    """The system's resolvers, or the one on this machine where none is named (resolv.conf(5))."""
    try:
        lines = path.read_text(errors="replace").splitlines()
    except OSError:
        lines = []
    words = [line.split() for line in lines]
    found = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    return tuple((server, PORT) for server in found[:SERVERS_MOST]) or (("127.0.0.1", PORT),)


def parse_servers(texts: Sequence[str]) -> tuple[Address, ...]:
    """`9.9.9.9`, `127.0.0.1:5353`, `[2001:db8::53]:53`. Raises ValueError."""
    return tuple(map(_server, texts))


def _server(text: str) -> Address:
    host, port = text, str(PORT)
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text!r} has no port between 1 and 65535")
    return str(ip_address(host)), int(port)
