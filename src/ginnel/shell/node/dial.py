"""TCP and TLS connections of the daemon itself: marked past our own routes, both families raced (RFC 8305).

Room: shell.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import socket
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from hmac import compare_digest

SO_MARK = 36
PIN = "sha256-raw:"  # tailscale: tailcfg.DERPNode.CertName
CONNECTION_ATTEMPT_DELAY = 0.25
"""RFC 8305 §5: the next address is tried this long after the one before, or at once when that failed."""

USER_TIMEOUT_MS = 30_000
FAREWELL = 1.0
"""Seconds for the other end to answer the end of TLS; asyncio's 30 keep descriptors open that nobody uses."""

Address = tuple[int, tuple[str, int]]
"""Family; IP address and port."""


class DialError(Exception):
    """One line for people: where to, and why not."""


@dataclass(frozen=True, slots=True)
class Streams:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


async def open_streams(
    host: str,
    port: int,
    *,
    mark: int,
    tls: ssl.SSLContext | None = None,
    server_name: str = "",
    addresses: Sequence[tuple[str, int]] = (),
    timeout: float = 10.0,  # noqa: ASYNC109
) -> Streams:
    """Connect, by the given addresses or those that the name resolves to. Raises DialError."""
    place = f"{host}:{port}"
    try:
        async with asyncio.timeout(timeout):
            connected = await _race(_literal(addresses) if addresses else await _lookup(host, port), mark)
            return await _streams(connected, tls, server_name or host)
    except TimeoutError:
        raise DialError(f"{place} does not answer") from None
    except ssl.SSLCertVerificationError as error:
        raise DialError(f"the certificate of {place} is not trusted: {error.verify_message}") from None
    except ssl.SSLError as error:
        raise DialError(f"{place} does not speak TLS: {error.reason or 'handshake failed'}") from None
    except socket.gaierror:
        raise DialError(f"the name {host} cannot be resolved") from None
    except OSError as error:
        raise DialError(f"cannot connect to {place}: {_why(error)}") from None


async def _streams(connected: socket.socket, tls: ssl.SSLContext | None, server_name: str) -> Streams:
    """asyncio owns the socket from here on, and closes it, even where this is cancelled: a transport may still say
    farewell in TLS then, and were its descriptor closed here, the number would come back as another socket's."""
    if tls is None:
        return Streams(*await asyncio.open_connection(sock=connected))
    try:
        _check_name(tls, server_name)
    except ValueError:
        connected.close()
        raise DialError(f"{server_name!r} is no name that TLS can ask for") from None
    opened = await asyncio.open_connection(
        sock=connected, ssl=tls, server_hostname=server_name, ssl_shutdown_timeout=FAREWELL
    )
    return Streams(*opened)


def _check_name(tls: ssl.SSLContext, name: str) -> None:
    """Raises ValueError where asyncio would, with a socket in its hands that it forgets."""
    tls.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=name)


def _why(error: OSError) -> str:
    """In the system's words: asyncio's own name the address, in Python's notation."""
    return os.strerror(error.errno).lower() if error.errno else "connection lost"


async def resolve(host: str) -> list[str]:
    """Both families' addresses of a name; none when it cannot be resolved."""
    try:
        return list(dict.fromkeys(address[0] for _, address in await _lookup(host, 0)))
    except OSError:
        return []


async def _lookup(host: str, port: int) -> list[Address]:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError:  # a label that no name can have
        raise socket.gaierror(socket.EAI_NONAME, "no such name") from None
    return _interleave([(family, (str(where[0]), int(where[1]))) for family, _, _, _, where in found])


def _literal(addresses: Sequence[tuple[str, int]]) -> list[Address]:
    return [(socket.AF_INET6 if ":" in ip else socket.AF_INET, (ip, port)) for ip, port in addresses]


def _interleave(found: list[Address]) -> list[Address]:
    """First of one family, first of the other, and so on; the system's favourite first."""
    first = [a for a in found if a[0] == found[0][0]]
    other = [a for a in found if a[0] != found[0][0]]
    mixed = [a for pair in zip(first, other, strict=False) for a in pair]
    return mixed + first[len(other) :] + other[len(first) :]


async def _race(addresses: list[Address], mark: int) -> socket.socket:
    """The first connection that stands; the others are closed. Raises the last OSError when none does."""
    attempts: set[asyncio.Task[socket.socket]] = set()
    waiting = list(addresses)
    failure: OSError = OSError("no address")
    try:
        while waiting or attempts:
            if waiting:
                attempts.add(asyncio.create_task(_connect(waiting.pop(0), mark)))
            delay = CONNECTION_ATTEMPT_DELAY if waiting else None
            done, attempts = await asyncio.wait(attempts, timeout=delay, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    attempts |= done - {task}
                    return task.result()
                failure = _os_error(task)
        raise failure
    finally:
        await _abandon(attempts)


def _os_error(task: asyncio.Task[socket.socket]) -> OSError:
    error = task.exception()
    assert error is not None
    if not isinstance(error, OSError):
        raise error
    return error


async def _abandon(attempts: set[asyncio.Task[socket.socket]]) -> None:
    for task in attempts:
        task.cancel()
    for outcome in await asyncio.gather(*attempts, return_exceptions=True):
        if isinstance(outcome, socket.socket):
            outcome.close()


async def _connect(address: Address, mark: int) -> socket.socket:
    family, where = address
    made = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        prepare(made, mark)
        await asyncio.get_running_loop().sock_connect(made, where)
    except BaseException:
        made.close()
        raise
    return made


def prepare(made: socket.socket, mark: int) -> None:
    """Mark it past our own routes, and let a dead path be noticed within half a minute."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
    made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
    if mark:
        with suppress(PermissionError):  # without root there are no routes of ours to step around
            made.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)


def unverified() -> ssl.SSLContext:
    """TLS for what something else authenticates: Noise, or a pinned key."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def is_pinned(streams: Streams, pin: str) -> bool:
    """Whether the other end has the certificate of this pin: PIN and the SHA-256 of its DER."""
    connection: ssl.SSLObject = streams.writer.get_extra_info("ssl_object")
    leaf = connection.getpeercert(binary_form=True) or b""
    return compare_digest(PIN + hashlib.sha256(leaf).hexdigest(), pin.lower())
