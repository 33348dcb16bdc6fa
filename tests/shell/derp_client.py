"""A plain DERP client over asyncio TLS, for tests of the relay."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from nacl.bindings import crypto_box, crypto_box_open
from nacl.public import PrivateKey
from nacl.utils import random

LIMIT = 10.0
"""Seconds: only a bound for failures."""

SERVER_KEY, CLIENT_INFO, SERVER_INFO, SEND_PACKET, RECV_PACKET, KEEP_ALIVE, NOTE_PREFERRED, PEER_GONE = range(1, 9)
PING, PONG = 0x12, 0x13
MAGIC = b"DERP\xf0\x9f\x94\x91"
UPGRADE = b"GET /derp HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: DERP\r\n"


def frame(kind: int, body: bytes = b"") -> bytes:
    return bytes([kind]) + len(body).to_bytes(4, "big") + body


def tls_context(newest: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.maximum_version = newest
    return context


@dataclass
class Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(LIMIT):
            head = await self.reader.readexactly(5)
            return head[0], await self.reader.readexactly(int.from_bytes(head[1:], "big"))

    async def expect(self, kind: int) -> bytes:
        """The next frame of this kind; keep-alives pass."""
        while True:
            found, body = await self.frame()
            if found == kind:
                return body
            assert found == KEEP_ALIVE, f"frame 0x{found:02x} instead of 0x{kind:02x}"

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        async with asyncio.timeout(LIMIT):
            await self.writer.drain()

    async def ended(self) -> bool:
        """Wait until the relay closes; what it still sends is read and dropped."""
        async with asyncio.timeout(LIMIT):
            try:
                while await self.reader.read(65536):
                    pass
            except (ConnectionError, ssl.SSLError):
                pass
        return True

    async def all(self) -> bytes:
        async with asyncio.timeout(LIMIT):
            try:
                return await self.reader.read(-1)
            except (ConnectionError, ssl.SSLError):
                return b""


class Client(Connection):
    """A login."""

    key: bytes

    async def send_packet(self, to: Client | bytes, packet: bytes) -> None:
        await self.send(frame(SEND_PACKET, (to.key if isinstance(to, Client) else to) + packet))

    async def packet(self) -> tuple[bytes, bytes]:
        body = await self.expect(RECV_PACKET)
        return body[:32], body[32:]

    async def settle(self) -> None:
        """The relay has handled everything sent so far."""
        await self.send(frame(PING, b"settled!"))
        assert await self.expect(PONG) == b"settled!"


@asynccontextmanager
async def connect(port: int, *, tls: ssl.SSLContext | None, host: str = "127.0.0.1") -> AsyncIterator[Connection]:
    reader, writer = await asyncio.wait_for(asyncio.open_connection(host, port, ssl=tls), LIMIT)
    try:
        yield Connection(reader, writer)
    finally:
        writer.transport.abort()
        with suppress(ConnectionError, ssl.SSLError):
            await asyncio.wait_for(writer.wait_closed(), LIMIT)


def client_info(private: bytes, server: bytes, claim: bytes | None = None) -> bytes:
    nonce = random(24)
    text = json.dumps({"version": 2, "CanAckPings": True}).encode()
    public = bytes(PrivateKey(private).public_key)
    return frame(CLIENT_INFO, (claim or public) + nonce + crypto_box(text, nonce, server, private))


@asynccontextmanager
async def login(
    port: int, server: bytes, *, fast: bool = True, tls: ssl.SSLContext | None = None, private: bytes | None = None
) -> AsyncIterator[Client]:
    """A login through to ServerInfo; `server` is the relay's public key."""
    private = private or bytes(PrivateKey.generate())
    async with connect(port, tls=tls or tls_context()) as raw:
        client = Client(raw.reader, raw.writer)
        client.key = bytes(PrivateKey(private).public_key)
        info = client_info(private, server)
        if fast:
            await client.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + info)
        else:
            await client.send(UPGRADE + b"\r\n")
            head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), LIMIT)
            assert head.startswith(b"HTTP/1.1 101 ")
            assert f"Derp-Public-Key: {server.hex()}\r\n".encode() in head
            await client.send(info)
        assert (await client.expect(SERVER_KEY)) == MAGIC + server
        sealed = await client.expect(SERVER_INFO)
        opened = json.loads(crypto_box_open(sealed[24:], sealed[:24], server, private))
        assert opened == {"version": 2}
        yield client
