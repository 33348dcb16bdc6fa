"""Answers that a client may hold on to: an ETag, and 304 for who has the same.

Room: shell.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from types import MappingProxyType

from starlette.requests import Request
from starlette.responses import Response


def tagged(request: Request, body: bytes, media_type: str, more: Mapping[str, str] = MappingProxyType({})) -> Response:
    """The body, or nothing for who says that it knows it (RFC 9110 §13.1.2). Any page may read it: it is public.
    `more`: headers."""
    tag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    known = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
    headers = {"etag": tag, "cache-control": "no-cache", "access-control-allow-origin": "*", **more}
    if tag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
