"""Ends of connections that misbehave, on loopback: each closed when its block ends."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def stranger(
    handler: Handler, tls: ssl.SSLContext | None = None, listener: socket.socket | None = None
) -> AsyncIterator[int]:
    """Gives its port. `listener`: in place of one on loopback."""
    open_now: set[asyncio.Task[None]] = set()

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        plain = writer.transport
        with suppress(OSError, EOFError, asyncio.CancelledError):
            if tls is not None:
                await writer.start_tls(tls)
            await handler(reader, writer)
        writer.close()
        plain.close()

    place = {"sock": listener} if listener is not None else {"host": "127.0.0.1", "port": 0}
    server = await asyncio.start_server(handle, **place)  # type: ignore[arg-type]
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now)


async def splice(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: int, *, tls: bool, hello: bytes
) -> None:
    """Passes all on to a port of this machine, `hello` first, until either end closes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    beyond, behind = await asyncio.open_connection("127.0.0.1", to, ssl=context if tls else None)

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
        target.close()

    try:
        behind.write(hello)
        await asyncio.gather(copy(reader, behind), copy(beyond, writer))
    finally:
        behind.close()


def reset(writer: asyncio.StreamWriter) -> None:
    """RST in place of FIN."""
    taken: socket.socket = writer.get_extra_info("socket")
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """After the first bytes."""
    await reader.read(1)
    reset(writer)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        continue


def says(data: bytes) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(data)
        await writer.drain()
        await silent(reader, writer)

    return handle


def page(head: str, body: bytes = b"") -> bytes:
    return f"HTTP/1.1 {head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head that never ends, a line at a time, as fast as it is taken."""
    await reader.read(1)
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: and more\r\n")
        await writer.drain()


@dataclass(frozen=True, slots=True)
class Authority:
    """One that signs leaves."""

    name: x509.Name
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def make(cls, name: str) -> Authority:
        key, subject = ec.generate_private_key(ec.SECP256R1()), _name(name)
        made = _build(subject, subject, key.public_key(), ca=True).sign(key, hashes.SHA256())
        return cls(subject, key, made)

    def leaf(self, host: str, *, days: int = 30, extra: int = 0) -> tuple[bytes, bytes]:
        """PEM of certificate and key. `days`: how long it is valid, below zero since when not. `extra`: more names."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _build(_name(host), self.name, key.public_key(), ca=False, days=days)
        names: list[x509.GeneralName] = [_alternative(host)]
        names += [x509.DNSName(f"host-{number:05}.a-rather-long-name.example.net") for number in range(extra)]
        signed = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return _pem(signed.sign(self.key, hashes.SHA256())), key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        )

    @property
    def pem(self) -> bytes:
        return _pem(self.certificate)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(host: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(host))
    return x509.DNSName(host)


def _build(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, ca: bool, days: int = 30
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder(issuer_name=issuer, subject_name=subject, serial_number=x509.random_serial_number())
        .public_key(key)
        .not_valid_before(now - timedelta(days=99))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def serving(directory: Path, leaf: tuple[bytes, bytes]) -> ssl.SSLContext:
    """A server's TLS."""
    path = directory / "leaf.pem"
    path.write_bytes(leaf[0] + leaf[1])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
