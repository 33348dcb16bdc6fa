"""The head of an HTTP answer, and a little of what follows, from whoever answers.

Room: shell. Reading is bounded; time is the step's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import h11

from ginnel.core.firewall.certificate import printable
from ginnel.shell.probe.line import Line
from ginnel.wire.read import Malformed

HEAD_LIMIT = 16 << 10
BODY_LIMIT = 64 << 10
PROTOCOL = b"HTTP/1."
STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?:[ \r\n]|$)")


@dataclass(frozen=True, slots=True)
class PageHead:
    """fields: by names in lower case, the first of a name. rest: what came behind the head."""

    status: int
    fields: Mapping[str, str]
    rest: bytes

    @property
    def location(self) -> str:
        return printable(self.fields.get("location", ""))

    @property
    def html(self) -> bool:
        return "html" in self.fields.get("content-type", "").lower() or b"<html" in self.rest[:1024].lower()


async def read_head(line: Line) -> PageHead:
    """Raises Malformed where it is no HTTP or too long, EOFError, OSError."""
    came = bytearray()
    while (end := came.find(b"\r\n\r\n")) < 0:
        if len(came) > HEAD_LIMIT:
            raise Malformed(f"the head of the answer is longer than {HEAD_LIMIT} bytes")
        if len(came) >= 16 and STATUS.match(came) is None:
            raise Malformed("not HTTP")
        came += await line.receive()
    first, *lines = bytes(came[:end]).split(b"\r\n")
    status = STATUS.match(first)
    if status is None:
        raise Malformed("not HTTP")
    return PageHead(int(status[1]), _fields(lines), bytes(came[end + 4 :]))


def _fields(lines: list[bytes]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            found.setdefault(name.strip().lower(), value.strip())
    return found


async def read_page(line: Line, target: str, host: str) -> PageHead:
    """GET, and the whole answer; its body is `rest`. Raises Malformed, EOFError, OSError."""
    http = h11.Connection(h11.CLIENT, max_incomplete_event_size=HEAD_LIMIT)
    fields = [("Host", host), ("User-Agent", "ginnel"), ("Accept", "*/*"), ("Connection", "close")]
    try:
        asked = http.send(h11.Request(method="GET", target=target, headers=fields)) or b""
        await line.send(asked + (http.send(h11.EndOfMessage()) or b""))
        return await _page(line, http)
    except h11.ProtocolError as error:
        raise Malformed(f"not HTTP: {error}") from None


async def _page(line: Line, http: h11.Connection) -> PageHead:
    head, body = PageHead(0, {}, b""), bytearray()
    while not isinstance(event := http.next_event(), h11.EndOfMessage | h11.ConnectionClosed):
        if event is h11.NEED_DATA:
            http.receive_data(await _data(line, http))
        elif isinstance(event, h11.Response):
            lines = [name + b":" + value for name, value in event.headers]
            head = PageHead(event.status_code, _fields(lines), b"")
        elif isinstance(event, h11.Data):
            body += event.data
            if len(body) > BODY_LIMIT:
                break
    return replace(head, rest=bytes(body[:BODY_LIMIT]))


async def _data(line: Line, http: h11.Connection) -> bytes:
    """A body may end with the connection; a head may not."""
    try:
        data = await line.receive()
        if http.their_state is h11.SEND_RESPONSE and line.received[: len(PROTOCOL)] != PROTOCOL[: len(line.received)]:
            raise Malformed("not HTTP")
        return data
    except EOFError:
        if http.their_state is not h11.SEND_BODY:
            raise
        return b""
