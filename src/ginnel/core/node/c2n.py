"""Requests that the server sends to the node, inside the answers to its own (tailscale: ipn/ipnlocal/c2n.go).

Room: core. Pure: bytes of one HTTP/1.1 message become bytes of another.
"""

from __future__ import annotations

C2N_LIMIT = 64 * 1024


def answer_c2n(payload: bytes) -> bytes:
    """The HTTP/1.1 response to a request that the server sent to this node; only `/echo` is served."""
    head, _, body = payload[:C2N_LIMIT].partition(b"\r\n\r\n")
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if len(words) == 3 and words[1].split(b"?", 1)[0] == b"/echo":
        return _http_response(b"200 OK", body)
    return _http_response(b"400 Bad Request", b"unknown c2n path\n")


def _http_response(status: bytes, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)
