"""Requests that the server sends to the node, inside the answers to its own (tailscale: ipn/ipnlocal/c2n.go).

Room: core. Pure: bytes of one HTTP/1.1 message become bytes of another.
"""

from __future__ import annotations

from ginnel.wire.doctor import ANSWER_LIMIT
from ginnel.wire.read import Malformed
from ginnel.words import BadKey, NodeKey

C2N_LIMIT = 64 * 1024
DOCTOR = b"/ginnel/doctor?peer="


def answer_c2n(payload: bytes) -> bytes:
    """The HTTP/1.1 response to a request that the server sent to this node; only `/echo` is served."""
    head, _, body = payload[:C2N_LIMIT].partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) == 3 and words[1].split(b"?", 1)[0] == b"/echo":
        return http_response(b"200 OK", body)
    return http_response(b"400 Bad Request", b"unknown c2n path\n")


def http_response(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


# --- what a peer asks by way of the server (ours alone; docs/protocol/doctor.md) -------------------------------------


def pair_question(asker: NodeKey) -> bytes:
    return b"GET %s%s HTTP/1.1\r\nHost: ginnel\r\n\r\n" % (DOCTOR, str(asker).encode())


def asker_of(payload: bytes) -> NodeKey | None:
    """Who asks; None: the request is another one."""
    words = payload[:C2N_LIMIT].split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or words[0] != b"GET" or not words[1].startswith(DOCTOR):
        return None
    try:
        return NodeKey.parse(words[1].removeprefix(DOCTOR).decode("ascii"))
    except (BadKey, UnicodeDecodeError):
        return None


def pair_answer(testimony: bytes | None) -> bytes:
    """None: there is nothing to say."""
    if testimony is None:
        return http_response(b"404 Not Found", b"no such peer\n")
    return http_response(b"200 OK", testimony)


def body_of(response: bytes) -> bytes:
    """Of a 200. Raises WireError."""
    head, end, body = response[: C2N_LIMIT + ANSWER_LIMIT].partition(b"\r\n\r\n")
    status = head.split(b"\r\n", 1)[0].split(b" ")[1:2]
    if not end or status != [b"200"]:
        raise Malformed(f"the node answers {head[:40]!r}, expected a 200")
    return body
