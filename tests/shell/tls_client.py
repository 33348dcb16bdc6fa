"""A TLS 1.3 client that says what no library would: records of its own making, under the connection's real keys."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from tests.shell.derp_client import LIMIT, tls_context

APPLICATION_DATA, HANDSHAKE, ALERT = 23, 22, 21
_SUITES = {
    "TLS_AES_256_GCM_SHA384": (AESGCM, 32, hashes.SHA384()),
    "TLS_AES_128_GCM_SHA256": (AESGCM, 16, hashes.SHA256()),
    "TLS_CHACHA20_POLY1305_SHA256": (ChaCha20Poly1305, 32, hashes.SHA256()),
}


class HostileTls:
    """Reads by OpenSSL, writes by hand once the handshake is over."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keylog: Path) -> None:
        self.reader, self.writer = reader, writer
        context = tls_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.keylog_filename = str(keylog)
        self._keylog = keylog
        self._came, self._goes = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._came, self._goes)
        self._number = 0
        self._stream = b""
        self.records_read = 0

    @classmethod
    @asynccontextmanager
    async def connect(cls, port: int, keylog: Path) -> AsyncIterator[Self]:
        reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), LIMIT)
        client = cls(reader, writer, keylog)
        try:
            await client._shake_hands()
            yield client
        finally:
            writer.transport.abort()
            with suppress(ConnectionError):
                await asyncio.wait_for(writer.wait_closed(), LIMIT)

    async def _shake_hands(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self.writer.write(self._goes.read())
                await self._receive()
            else:
                self.writer.write(self._goes.read())
                self.records_read = 0
                return self._derive()

    async def _receive(self) -> None:
        data = await asyncio.wait_for(self.reader.read(65536), LIMIT)
        if not data:
            raise ConnectionResetError
        self._count(data)
        self._came.write(data)

    def _count(self, data: bytes) -> None:
        self._stream += data
        while len(self._stream) >= 5 and len(self._stream) >= (end := 5 + int.from_bytes(self._stream[3:5], "big")):
            self._stream = self._stream[end:]
            self.records_read += 1

    def _derive(self) -> None:
        cipher = self._tls.cipher()
        assert cipher is not None
        aead, size, digest = _SUITES[cipher[0]]
        lines = [line.split() for line in self._keylog.read_text().splitlines()]
        secret = next(bytes.fromhex(line[2]) for line in lines if line[:1] == ["CLIENT_TRAFFIC_SECRET_0"])

        def expand(label: bytes, length: int) -> bytes:
            label = b"tls13 " + label
            info = length.to_bytes(2, "big") + bytes([len(label)]) + label + b"\0"
            return HKDFExpand(digest, length, info).derive(secret)

        self._aead, self._nonce = aead(expand(b"key", size)), expand(b"iv", 12)

    def record(self, kind: int, content: bytes) -> bytes:
        """The next record under our keys."""
        inner = content + bytes([kind])
        head = b"\x17\x03\x03" + (len(inner) + 16).to_bytes(2, "big")
        nonce = bytes(a ^ b for a, b in zip(self._nonce, self._number.to_bytes(12, "big"), strict=True))
        self._number += 1
        return head + self._aead.encrypt(nonce, inner, head)

    def send(self, data: bytes) -> None:
        self.writer.write(self.record(APPLICATION_DATA, data))

    async def read(self, size: int) -> bytes:
        """Exactly so many bytes of plaintext."""
        out = b""
        while len(out) < size:
            try:
                out += self._tls.read(size - len(out))
            except ssl.SSLWantReadError:
                await self._receive()
        return out

    async def goodbye(self) -> bool:
        """Read to the end: whether the relay said it inside TLS."""
        while True:
            try:
                if not self._tls.read(65536):
                    return True
            except ssl.SSLZeroReturnError:
                return True
            except ssl.SSLWantReadError:
                try:
                    await self._receive()
                except ConnectionError:
                    return False

    async def ended(self) -> bool:
        """Wait until the relay closes."""
        async with asyncio.timeout(LIMIT):
            try:
                while await self.reader.read(65536):
                    pass
            except ConnectionError:
                pass
        return True
