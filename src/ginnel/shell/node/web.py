"""One small HTTP/1.1 request at a time: `/key`, ping answers, relay latencies.

Room: shell.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import h11

from ginnel.shell.node.dial import DialError, Streams, is_pinned, open_streams, unverified

MAX_BODY = 64 * 1024


class WebError(Exception):
    """One line for people."""


@dataclass(frozen=True, slots=True)
class Page:
    """`headers`: by names in lower case; of several with one name the last."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)


async def fetch(
    method: str,
    url: str,
    *,
    mark: int,
    tls: ssl.SSLContext | None = None,
    pin: str = "",
    headers: Sequence[tuple[str, str]] = (),
    limit: int = MAX_BODY,
    addresses: Sequence[tuple[str, int]] = (),
) -> Page:
    """No redirects, no cookies, at most `limit` bytes. `tls`: instead of the system's roots; `pin`: the one certificate
    that will do, as DERP maps pin it; `addresses`: with ports, in place of what the name resolves to. Raises WebError.
    Time it out."""
    try:
        parts = urlsplit(url)
        wanted = parts.port
    except ValueError as error:
        raise WebError(f"the address cannot be read: {error}") from None
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if pin and not secure:
        raise WebError("a pinned certificate needs an https address")
    context = (unverified() if pin else tls or ssl.create_default_context()) if secure else None
    try:
        port = wanted or (443 if secure else 80)
        streams = await open_streams(host, port, mark=mark, tls=context, addresses=addresses)
    except DialError as error:
        raise WebError(str(error)) from None
    try:
        if pin and not is_pinned(streams, pin):
            raise WebError(f"the certificate of {host} is not the one that was pinned")
        return await exchange(streams, method, target, parts.netloc.rpartition("@")[2], headers=headers, limit=limit)
    finally:
        streams.writer.close()


async def exchange(
    streams: Streams,
    method: str,
    target: str,
    host: str,
    *,
    headers: Sequence[tuple[str, str]] = (),
    body: bytes = b"",
    limit: int = MAX_BODY,
) -> Page:
    """One request and its answer on a connection that stands. Raises WebError."""
    connection = h11.Connection(h11.CLIENT)
    every = [("Host", host), ("User-Agent", "ginnel"), ("Accept", "*/*"), *headers]
    if body:
        every.append(("Content-Length", str(len(body))))
    try:
        streams.writer.write(connection.send(h11.Request(method=method, target=target, headers=every)) or b"")
        if body:
            streams.writer.write(connection.send(h11.Data(data=body)) or b"")
        streams.writer.write(connection.send(h11.EndOfMessage()) or b"")
        return await _read(connection, streams, limit)
    except (OSError, ssl.SSLError, h11.ProtocolError) as error:
        raise WebError(f"{host} gave no HTTP answer: {error}") from None


async def _read(connection: h11.Connection, streams: Streams, limit: int) -> Page:
    status, body, headers = 0, bytearray(), dict[str, str]()
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await streams.reader.read(65536))
        elif isinstance(event, h11.Response):
            status = event.status_code
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in event.headers}
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > limit:
                raise WebError(f"the answer is longer than {limit} bytes")
        elif isinstance(event, h11.EndOfMessage):
            return Page(status, bytes(body), headers)
        elif isinstance(event, h11.ConnectionClosed):
            raise WebError("the connection was closed before the answer")
