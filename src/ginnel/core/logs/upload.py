"""One log upload: where it goes, and the lines in it (tailscale: logtail/logtail.go, logtail/api.md).

Room: core. No sockets, clocks, files or logs come in.

    POST /c/<collection>/<private id>      64 hex digits; the public id is the SHA-256 of its 32 bytes
    [{"logtail":{"client_time":"..."},"v":1,"text":"..."},
    {...}]                                 plain, or one zstd frame

The private id lets its owner write and is kept nowhere; everything is filed under the public one, which is also what
a node tells its coordination server as `Hostinfo.BackendLogID`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import msgspec

from ginnel.core.logs import limits
from ginnel.wire.read import Malformed
from ginnel.wire.zstdframe import TooLong, unfold

_PATH = re.compile(r"/c/([a-z0-9][a-z0-9.-]{0,62})/([0-9a-f]{64})")
_LOG_ID = re.compile(r"[0-9a-f]{64}")
CUT = " [cut]"


class UploadRefused(Exception):
    """`status` of HTTP, and the reason under which it is counted."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Target:
    """`log_id`: public, 64 hex digits; safe as the name of a directory."""

    collection: str
    log_id: str


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """`time`: as the client wrote it, "" where it is no time. `more`: what else the entry held, as JSON."""

    time: str = ""
    level: int = 0
    text: str = ""
    metrics: str = ""
    collection: str = ""
    more: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


def target_of(path: str) -> Target | None:
    """None: not a path of the log host."""
    match = _PATH.fullmatch(path)
    return Target(match[1], public_id(bytes.fromhex(match[2]))) if match else None


def public_id(private: bytes) -> str:
    return hashlib.sha256(private).hexdigest()


def is_log_id(text: object) -> bool:
    return isinstance(text, str) and _LOG_ID.fullmatch(text) is not None


def read_upload(body: bytes, encoding: str, collection: str) -> tuple[list[Line], int]:
    """The lines of one upload and the bytes of its JSON. Raises UploadRefused."""
    content = _content(body, encoding)
    return [_line(bytes(entry), collection) for entry in _entries(content)], len(content)


def _content(body: bytes, encoding: str) -> bytes:
    if len(body) > limits.MAX_BODY:
        raise UploadRefused(413, "body too large")
    if encoding in ("", "identity"):
        return body
    if encoding != "zstd":
        raise UploadRefused(415, "unknown content encoding")
    limit = min(limits.MAX_CONTENT, max(limits.FREE_RATIO, limits.MAX_RATIO * len(body)))
    try:
        return unfold(body, limit, limits.WINDOW_LOG)
    except TooLong:
        raise UploadRefused(413, "unfolds too far") from None
    except Malformed:
        raise UploadRefused(400, "bad zstd") from None


class _Nothing(msgspec.Struct, frozen=True):
    """Any object, of which nothing is kept: an array of a million numbers ends at its first."""


_SHAPE = msgspec.json.Decoder(list[_Nothing])


def _entries(content: bytes) -> list[msgspec.Raw]:
    try:
        count = len(_SHAPE.decode(content))
        if count > limits.MAX_LINES:
            raise UploadRefused(413, "too many lines")
        return msgspec.json.decode(content, type=list[msgspec.Raw])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UploadRefused(400, "not a JSON array of objects") from None


def _line(entry: bytes, collection: str) -> Line:
    if len(entry) > limits.MAX_ENTRY:
        raise UploadRefused(413, "line too long")
    try:
        members = msgspec.json.decode(entry, type=dict[str, Any])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        raise UploadRefused(400, "not a JSON array of objects") from None
    logtail, level, text, metrics = (members.pop(name, None) for name in ("logtail", "v", "text", "metrics"))
    error = logtail.get("error") if isinstance(logtail, dict) else None
    if error is not None:
        members["error"] = error
    return Line(
        time=_time(logtail),
        level=level if type(level) is int and 0 <= level < 100 else 0,
        text=_cut(text),
        metrics=_cut(metrics),
        collection=collection,
        more=_more(members),
    )


def _time(logtail: object) -> str:
    said = logtail.get("client_time") if isinstance(logtail, dict) else None
    return said if isinstance(said, str) and _TIME.fullmatch(said) else ""


_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII)


def _cut(text: object) -> str:
    if not isinstance(text, str):
        return ""
    kept = text.removesuffix("\n")
    return kept if len(kept) <= limits.MAX_TEXT else kept[: limits.MAX_TEXT] + CUT


def _more(members: dict[str, Any]) -> msgspec.Raw | msgspec.UnsetType:
    """A `text` that is no string is lost; what is too long is cut, and is text then. Written again, so that what is
    kept is JSON in UTF-8 whatever came, and takes no more memory than its bytes."""
    if not members:
        return msgspec.UNSET
    written = msgspec.json.encode(members)
    if len(written) > limits.MAX_MORE:
        written = msgspec.json.encode(written[: limits.MAX_MORE].decode(errors="replace") + CUT)
    return msgspec.Raw(written)
