"""What answers in a server's place: a login page, a fake, a proxy that opens TLS with an authority of its own.

Room: lab. Threads of this process with sockets of the router's namespace.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import tempfile
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from ginnel.lab.namespace import Inside

LOOK_AGAIN = 0.1
PATIENCE = 5.0
REQUEST_MOST = 1 << 16
ORIGINAL_DST = 80  # linux/netfilter_ipv4.h
REDIRECT = (
    b"HTTP/1.1 302 Found\r\nLocation: http://login.hotel.example/\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
)
HTML = b"<html><title>Guest Wi-Fi</title>Please accept our terms.</html>"
PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (
    len(HTML),
    HTML,
)
FAKE_204 = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
AUTHENTICATE = (
    b"HTTP/1.1 511 Network Authentication Required\r\nContent-Type: text/html\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%s" % (len(HTML), HTML)
)
FORBIDDEN_HTML = b"<html><title>Blocked</title>This site is blocked by company policy: category VPN.</html>"
FORBIDDEN = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s"
    % (
        len(FORBIDDEN_HTML),
        FORBIDDEN_HTML,
    )
)


class Stranger(ABC):
    """A context: accepts on a TCP port of a namespace, a thread for each connection."""

    def __init__(self, space: Inside, address: str, port: int) -> None:
        self.space = space
        self.listener = space.socket(socket.SOCK_STREAM, (address, port))
        self.ending = threading.Event()
        self.threads = [threading.Thread(target=self.serve, name="stranger", daemon=True)]

    def __enter__(self) -> Stranger:
        self.listener.listen(64)
        self.listener.settimeout(LOOK_AGAIN)
        self.threads[0].start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ending.set()
        for thread in self.threads:
            thread.join()
        self.listener.close()

    def serve(self) -> None:
        while not self.ending.is_set():
            with suppress(TimeoutError, ConnectionError):
                connection, _ = self.listener.accept()
                thread = threading.Thread(target=self.meet, args=(connection,), name="stranger", daemon=True)
                self.threads = [*(known for known in self.threads if known.is_alive()), thread]
                thread.start()

    def meet(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(PATIENCE)
            self.speak(connection)

    @abstractmethod
    def speak(self, connection: socket.socket) -> None:
        """To one who has connected."""


class FalsePage(Stranger):
    """The same HTTP answer to everybody."""

    def __init__(self, space: Inside, address: str, port: int, answer: bytes) -> None:
        super().__init__(space, address, port)
        self.page = answer

    def speak(self, connection: socket.socket) -> None:
        connection.recv(REQUEST_MOST)
        connection.sendall(self.page)


class Interceptor(Stranger):
    """Opens TLS with a certificate of `authority`, for whatever name is asked for, and passes on what is inside to
    where the connection was meant to go; or answers with `page` by itself."""

    def __init__(self, space: Inside, address: str, port: int, authority: Authority, page: bytes = b"") -> None:
        super().__init__(space, address, port)
        self.authority, self.page = authority, page

    def speak(self, connection: socket.socket) -> None:
        target = original_destination(connection)
        context = self.authority.context()
        with context.wrap_socket(connection, server_side=True) as inside:
            if self.page:
                inside.recv(REQUEST_MOST)
                inside.sendall(self.page)
                return
            with (
                self.space.call(socket.create_connection, target, PATIENCE) as onward,
                anybody().wrap_socket(onward) as out,
            ):
                self.splice(inside, out)

    def splice(self, a: ssl.SSLSocket, b: ssl.SSLSocket) -> None:
        other = {a: b, b: a}
        while not self.ending.is_set():
            ready = [one for one in other if one.pending()] or select.select([a, b], [], [], LOOK_AGAIN)[0]
            for one in ready:
                if not (chunk := one.recv(REQUEST_MOST)):
                    return
                other[one].sendall(chunk)


def anybody() -> ssl.SSLContext:
    """A proxy that opens TLS seldom looks at the other side's certificate with care."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def original_destination(connection: socket.socket) -> tuple[str, int]:
    """Where a redirected connection was meant to go."""
    packed = connection.getsockopt(socket.SOL_IP, ORIGINAL_DST, 16)
    port, address = struct.unpack("!2xH4s8x", packed)
    return socket.inet_ntoa(address), port


class Authority:
    """A company's own certificate authority: certificates for any name, on the spot."""

    def __init__(self, organization: str) -> None:
        self.name = x509.Name(
            [
                x509.NameAttribute(NameOID.ORGANIZATION_NAME, organization),
                x509.NameAttribute(NameOID.COMMON_NAME, f"{organization} Root"),
            ]
        )
        self.key = ec.generate_private_key(ec.SECP256R1())

    def certificate(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
            .issuer_name(self.name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=90))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def context(self) -> ssl.SSLContext:
        """A server's, that makes its certificate when it knows the name that the client asks for."""
        first = self.loaded("unknown.example")

        def named(wrapped: ssl.SSLSocket | ssl.SSLObject, name: str | None, _: ssl.SSLSocket) -> None:
            wrapped.context = self.loaded(name or "unknown.example")

        first.set_servername_callback(named)
        return first

    def loaded(self, name: str) -> ssl.SSLContext:
        key = ec.generate_private_key(ec.SECP256R1())
        private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory, "both.pem")
            file.write_bytes(private + self.certificate(name, key).public_bytes(Encoding.PEM))
            context.load_cert_chain(file)
        return context
