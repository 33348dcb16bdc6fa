"""`GET /generate_204` over plain HTTP and the head of its answer, by which captive portals give themselves away
(RFC 9110; tailscale: net/captivedetection/captivedetection.go, derp/derpserver/derpserver.go ServeNoContent).

Room: wire. Bytes become messages and back. An answer is what a stranger's box makes up: 1 KiB of it is looked at, no
cookie is kept, no redirect followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ginnel.wire.read import Malformed, Truncated

ANSWER_LIMIT = 1024
HEAD_END = re.compile(rb"\r?\n\r?\n")
STATUS_LINE = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: [^\r\n]*)?\r?\n")
EMPTY_CHUNKED = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """`response`: of `X-Tailscale-Response`, None where nobody sent one. `content`: a body, or the promise of one.
    `location`: where a redirect points, `date`: that header, "" without."""

    status: int
    response: str | None = None
    content: bool = False
    location: str = ""
    date: str = ""


def request(host: str, challenge: str) -> bytes:
    """`host`: an IP address as URLs write it. `challenge`: up to 64 of `A-Za-z0-9.:_-`, new each time, so that no
    cache has the answer."""
    return (
        f"GET /generate_204?t={challenge} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: ginnel\r\n"
        "Cache-Control: no-cache, no-store, must-revalidate, no-transform, max-age=0\r\n"
        f"X-Tailscale-Challenge: {challenge}\r\nConnection: close\r\n\r\n"
    ).encode("ascii")


def expected_response(challenge: str) -> str:
    return f"response {challenge}"


def head_is_there(answer: bytes | bytearray) -> bool:
    """Whether reading on can bring nothing but content."""
    return HEAD_END.search(answer) is not None or len(answer) >= ANSWER_LIMIT


def parse_answer(answer: bytes) -> Answer:
    """Read the first ANSWER_LIMIT bytes of an answer. Only a 204 needs its whole head. Raises WireError."""
    answer = answer[:ANSWER_LIMIT]
    line = STATUS_LINE.match(answer)
    if line is None:
        raise Malformed("expected an HTTP status line")
    status = int(line[1])
    if status < 200:
        raise Malformed(f"expected a final HTTP status, got {status}")
    end = HEAD_END.search(answer, line.end() - 2)
    if end is None and status == 204:
        raise Truncated(f"the head of the answer does not end within {len(answer)} bytes")
    fields = _fields(answer[line.end() : end.start() if end is not None else len(answer)])
    body = answer[end.end() :] if end is not None else b""
    promised = fields.get("content-length", "0").strip("0") != ""
    return Answer(
        status,
        fields.get("x-tailscale-response"),
        promised or body not in (b"", EMPTY_CHUNKED),
        fields.get("location", ""),
        fields.get("date", ""),
    )


def _fields(head: bytes) -> dict[str, str]:
    """Names in lower case; the first of a name counts, what is no field is skipped."""
    found: dict[str, str] = {}
    for line in head.splitlines():
        name, colon, value = line.decode("latin-1").partition(":")
        if colon:
            found.setdefault(name.lower(), value.strip(" \t"))
    return found
