"""One honest try at a host's port 443: TCP, TLS, the certificate, an HTTP answer; and what a failure looks like.

Room: shell.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from dataclasses import dataclass

from cryptography import x509

from ginnel.core.doctor.evidence import Probe
from ginnel.shell.node.dial import PIN, SO_MARK, Streams, is_pinned, unverified
from ginnel.shell.node.web import WebError, exchange

CONNECT_TIME, TLS_TIME, HTTP_TIME = 2.5, 1.5, 1.5
NO_WAY = (errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL)
CERT_NOT_YET, CERT_EXPIRED = 9, 10  # X509_V_ERR_* (openssl: x509_vfy.h)


@dataclass(frozen=True, slots=True)
class Target:
    """`verify`: as in `RelayOpen`: `name:HOST`, `sha256-raw:HEX` or `insecure`; `path`: to be answered with 2xx."""

    host: str
    address: str
    port: int
    verify: str
    path: str

    @property
    def place(self) -> str:
        at = f"[{self.address}]" if ":" in self.address else self.address
        shown = f"{at}:{self.port}"
        return shown if self.host in ("", self.address) else f"{self.host} ({shown})"


class _Failed(Exception):
    def __init__(self, blocking: str, detail: str = "", issuer: str = "") -> None:
        super().__init__(blocking)
        self.blocking, self.detail, self.issuer = blocking, detail, issuer


async def probe(target: Target, *, mark: int) -> Probe:
    """Within 5.5 s."""
    try:
        connected = await _connect(target, mark)
        streams = await _handshake(target, connected)
        try:
            await _ask(target, streams)
        finally:
            streams.writer.close()
    except _Failed as failed:
        return Probe(target.place, failed.blocking, failed.detail, failed.issuer)
    return Probe(target.place)


async def _connect(target: Target, mark: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in target.address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        marked(made, mark)
        async with asyncio.timeout(CONNECT_TIME):
            await asyncio.get_running_loop().sock_connect(made, (target.address, target.port))
    except TimeoutError:
        made.close()
        raise _Failed("silent-drop", f"no answer to TCP within {CONNECT_TIME:.0f} s") from None
    except OSError as error:
        made.close()
        raise _Failed(_kind(error), (error.strerror or str(error)).lower()) from None
    return made


def marked(made: socket.socket, mark: int) -> None:
    """Past our own routes, where we may."""
    try:
        made.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
    except PermissionError:
        return


def _kind(error: OSError) -> str:
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "reset"
    return "unreachable" if error.errno in NO_WAY else "silent-drop"


async def _handshake(target: Target, connected: socket.socket) -> Streams:
    """Without trust first: who is there is to be seen, whoever it is."""
    try:
        async with asyncio.timeout(TLS_TIME):
            name = target.host or target.address
            reader, writer = await asyncio.open_connection(sock=connected, ssl=unverified(), server_hostname=name)
    except TimeoutError:
        raise _Failed("timeout-after-connect", "TCP stands, TLS gets no answer") from None
    except ssl.SSLError as error:
        raise _Failed("protocol", f"no TLS: {(error.reason or 'handshake failed').lower().replace('_', ' ')}") from None
    except OSError as error:
        blocking = "reset" if isinstance(error, ConnectionError) or not error.errno else _kind(error)
        raise _Failed(blocking, "the connection ends at the TLS handshake") from None
    streams = Streams(reader, writer)
    try:
        await _certify(target, streams)
    except _Failed:
        writer.close()
        raise
    return streams


async def _certify(target: Target, streams: Streams) -> None:
    if target.verify.startswith(PIN) and not is_pinned(streams, target.verify):
        raise _Failed("tls-interception", "not the certificate that the DERP map pins", _issuer(streams))
    if not target.verify.startswith("name:"):
        return
    connection: ssl.SSLObject = streams.writer.get_extra_info("ssl_object")
    problem = await asyncio.to_thread(_distrust, target, connection.getpeercert(binary_form=True) or b"")
    if problem is None:
        return
    if problem.verify_code in (CERT_NOT_YET, CERT_EXPIRED):
        raise _Failed("wrong-certificate", problem.verify_message, "")
    raise _Failed("tls-interception", problem.verify_message, _issuer(streams))


def _distrust(target: Target, leaf: bytes) -> ssl.SSLCertVerificationError | None:
    """A second handshake, with trust; the same host a moment later."""
    context = ssl.create_default_context()
    try:
        with (
            socket.create_connection((target.address, target.port), CONNECT_TIME) as made,
            context.wrap_socket(made, server_hostname=target.verify.removeprefix("name:")),
        ):
            return None
    except ssl.SSLCertVerificationError as error:
        return error
    except OSError:
        return None if leaf else ssl.SSLCertVerificationError("no certificate")


def _issuer(streams: Streams) -> str:
    """Whoever signed the certificate that was shown, in the certificate's own words, made short."""
    connection: ssl.SSLObject = streams.writer.get_extra_info("ssl_object")
    try:
        leaf = x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
        return leaf.issuer.rfc4514_string()[:120]
    except ValueError:
        return "somebody who cannot be read"


async def _ask(target: Target, streams: Streams) -> None:
    try:
        async with asyncio.timeout(HTTP_TIME):
            page = await exchange(streams, "GET", target.path, target.host or target.address)
    except TimeoutError:
        raise _Failed("timeout-after-connect", "TLS stands, HTTP gets no answer") from None
    except WebError as error:
        raise _Failed("protocol", str(error)) from None
    if page.status > 299:
        blocking = "block-page" if page.status in (403, 407, 451, 511, 302, 301, 307) else "protocol"
        raise _Failed(blocking, f"HTTP {page.status}")
