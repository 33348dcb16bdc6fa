"""HTTP/1.1 on the daemon's unix socket: one request, one answer or one stream of JSON lines, per connection.

Room: shell. Browsers are kept out: a fixed Host, no Origin, no Referer (tailscale: ipn/localapi/localapi.go).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import h11

from ginnel import __version__
from ginnel.core.node.login import CAPABILITY_VERSION
from ginnel.shell.node.rights import Rights

HOST = "local-ginneld.sock"
HOSTS = ("", HOST, "local-tailscaled.sock")
BASE = "/localapi/v0/"
MAX_BODY = 1 << 20
REQUEST_TIME = 10.0
HEADERS = [
    ("Tailscale-Version", __version__),
    ("Tailscale-Cap", str(CAPABILITY_VERSION)),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; script-src 'none'"),
    ("X-Frame-Options", "DENY"),
    ("X-Content-Type-Options", "nosniff"),
    ("Connection", "close"),
]


@dataclass(frozen=True, slots=True)
class Request:
    """`name`: the path behind `/localapi/v0/`; `query`: the last value of each name."""

    method: str
    name: str
    query: dict[str, str]
    body: bytes
    rights: Rights


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` whole, or `lines` as they come."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    lines: AsyncIterator[bytes] | None = None


class Refusal(Exception):
    """An answer other than success: `status` and one line for people."""

    def __init__(self, status: int, line: str) -> None:
        super().__init__(line)
        self.status = status


async def read_request(connection: h11.Connection, reader: asyncio.StreamReader, rights: Rights) -> Request:
    """The one request of a connection. Raises Refusal, and ConnectionError when the client is gone."""
    head: h11.Request | None = None
    body = bytearray()
    while True:
        event = _next_event(connection)
        if event is h11.NEED_DATA:
            connection.receive_data(await reader.read(65536))
        elif isinstance(event, h11.Request):
            head = event
            check_origin(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > MAX_BODY:
                raise Refusal(413, "the request is too large")
        elif isinstance(event, h11.EndOfMessage) and head is not None:
            return _request(head, bytes(body), rights)
        else:
            raise ConnectionResetError("the client closed")


def _next_event(connection: h11.Connection) -> object:
    try:
        return connection.next_event()
    except h11.RemoteProtocolError:
        raise Refusal(400, "not an HTTP request") from None


def check_origin(headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Raises Refusal where the request may come from a web page."""
    for name, value in headers:
        if name in (b"origin", b"referer"):
            raise Refusal(403, "requests of web pages are refused")
        if name == b"host" and value.decode("latin-1") not in HOSTS:
            raise Refusal(403, "unexpected Host")


def _request(head: h11.Request, body: bytes, rights: Rights) -> Request:
    try:
        target = urlsplit(head.target.decode("latin-1"))
    except ValueError:
        raise Refusal(400, "the path cannot be read") from None
    if not target.path.startswith(BASE):
        raise Refusal(404, f"no such path; everything is below {BASE}")
    query = dict(parse_qsl(target.query))
    return Request(head.method.decode(), target.path.removeprefix(BASE), query, body, rights)


async def write_answer(connection: h11.Connection, writer: asyncio.StreamWriter, answer: Answer) -> None:
    headers = [*HEADERS, ("Content-Type", answer.content_type)]
    if answer.lines is None:
        headers.append(("Content-Length", str(len(answer.body))))
    else:
        headers.append(("Transfer-Encoding", "chunked"))
    writer.write(connection.send(h11.Response(status_code=answer.status, headers=headers)) or b"")
    if answer.lines is None:
        writer.write(connection.send(h11.Data(data=answer.body)) or b"")
    else:
        async for line in answer.lines:
            writer.write(connection.send(h11.Data(data=line)) or b"")
            await writer.drain()
    writer.write(connection.send(h11.EndOfMessage()) or b"")
    await writer.drain()
