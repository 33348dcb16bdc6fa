"""Frames of a map stream from JSON parts that are encoded already.

Room: core. A `Frames` is what one group of streams is sent at once; it is encoded and compressed once, however many
streams carry it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ginnel.wire.mapstream import MapEncoder

_ENCODER = MapEncoder()  # one compressor for all: each frame stands alone


def object_of(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A JSON object of members whose values are JSON already; empty values are left out."""
    return b"{" + b",".join(b'"' + name.encode() + b'":' + value for name, value in members if value) + b"}"


def array_of(items: Iterable[bytes]) -> bytes:
    """A JSON array; empty bytes for no items, since an empty list and an absent one are not the same on this wire."""
    joined = b",".join(items)
    return b"[" + joined + b"]" if joined else b""


@dataclass(slots=True)
class Frames:
    """JSON objects in order; `bytes_for` gives them framed, as a stream with or without zstd carries them."""

    objects: list[bytes]
    _framed: dict[str, bytes] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.objects)

    def bytes_for(self, compress: str) -> bytes:
        """`compress`: "" or "zstd"."""
        framed = self._framed.get(compress)
        if framed is None:
            framed = b"".join(_ENCODER.frame(json, compress) for json in self.objects)
            self._framed[compress] = framed
        return framed
