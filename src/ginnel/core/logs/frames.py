"""How lines lie in a segment's file: a sequence of zstd frames, each behind a skippable frame that says what it is.

Room: core. No sockets, clocks, files or logs come in; a format of this project. `zstdcat FILE` prints the lines.

    50 2a 4d 18 | 14 00 00 00      a skippable frame of 20 bytes (RFC 8878 §3.1.2)
    stamp(8) length(4) lines(4)    little-endian; when it came in microseconds, and how much follows
    checksum(4)                    the first bytes of SHA-256 over stamp, length and lines
    <length bytes>                 one zstd frame: a JSON object for each line, a newline behind each
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from ginnel.core.logs import limits
from ginnel.core.logs.upload import Line
from ginnel.wire.read import Malformed
from ginnel.wire.zstdframe import fold, unfold

_MAGIC = bytes.fromhex("502a4d1814000000")
_HEAD = struct.Struct("<QII")
HEAD_SIZE = len(_MAGIC) + _HEAD.size + 4
MAX_FRAME_CONTENT = 8 * limits.MAX_CONTENT  # members of ours are longer than those of an upload
_LINES = msgspec.json.Decoder(Line)
_ENCODER = msgspec.json.Encoder()


@dataclass(frozen=True, slots=True)
class FrameHead:
    """`start`, `end`: where its body lies in the file."""

    stamp: int
    lines: int
    start: int
    end: int


def write_frame(stamp: int, lines: Sequence[Line]) -> bytes:
    body = fold(_ENCODER.encode_lines(lines))
    facts = _HEAD.pack(stamp, len(body), len(lines))
    return _MAGIC + facts + _sum(facts) + body


def read_head(data: bytes, at: int) -> FrameHead | None:
    """`data`: HEAD_SIZE bytes that lie at `at`. None: no frame begins there, as where a crash cut one short."""
    facts = data[len(_MAGIC) : len(_MAGIC) + _HEAD.size]
    if len(data) != HEAD_SIZE or not data.startswith(_MAGIC) or data[HEAD_SIZE - 4 :] != _sum(facts):
        return None
    stamp, length, lines = _HEAD.unpack(facts)
    return FrameHead(stamp, lines, at + HEAD_SIZE, at + HEAD_SIZE + length)


def read_frame(body: bytes) -> list[Line]:
    """Raises Malformed."""
    try:
        return _LINES.decode_lines(unfold(body, MAX_FRAME_CONTENT, limits.WINDOW_LOG))
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise Malformed(f"a kept line cannot be read: {error}") from None


def _sum(facts: bytes) -> bytes:
    return hashlib.sha256(facts).digest()[:4]
