"""The body of a map stream: lengths in little-endian order, each before one JSON message, plain or as one zstd frame
(tailscale: control/controlclient/direct.go, tailcfg/tailcfg.go `MapRequest.Compress`).

Room: wire. Bytes become messages and back. No sockets, clocks, randomness or logs come in.

    length(4, little-endian) | body
    body: JSON, or one whole zstd frame of it where the request said "Compress":"zstd"
"""

from __future__ import annotations

from collections.abc import Iterator

from ginnel.wire.read import Malformed
from ginnel.wire.zstdframe import unfold, zstd

ZSTD = "zstd"
LEVEL = 1  # for maps it is both the fastest and the smallest: 2 MB of peers give 265 kB, level 3 gives 306 kB
BODY_LIMIT = 64 << 20  # bytes of one message, compressed and not; a map of 10,000 peers is about 9 MB
WINDOW_LOG = 26  # a frame may ask its reader for a window of 64 MiB and no more
LENGTH_SIZE = 4

KEEP_ALIVE_JSON = b'{"KeepAlive":true}'  # Go keeps the compressed form of exactly these bytes in a cache


def plain_frame(body: bytes) -> bytes:
    return len(body).to_bytes(LENGTH_SIZE, "little") + body


KEEP_ALIVE = {
    "": plain_frame(KEEP_ALIVE_JSON),
    ZSTD: plain_frame(bytes.fromhex("28b52ffd2012910000") + KEEP_ALIVE_JSON),
}
"""By `MapRequest.compress`: the frame to send when nothing else was sent for a while, always the same bytes."""


class MapEncoder:
    """Makes the frames of any number of streams with one compressor; each frame stands alone."""

    __slots__ = ("_compressor",)

    def __init__(self) -> None:
        self._compressor = zstd.ZstdCompressor(level=LEVEL)

    def frame(self, message: bytes, compress: str) -> bytes:
        """A JSON message as `compress`, the request's word, asks for it. The reader of "" cannot read zstd and that of
        "zstd" reads nothing else; another word is an error of ours, for a server must have refused it."""
        if compress == ZSTD:
            return plain_frame(self._compressor.compress(message, zstd.ZstdCompressor.FLUSH_FRAME))
        if compress:
            raise ValueError(f"no compression is called {compress!r}")
        return plain_frame(message)


class MapDecoder:
    """Gathers the JSON messages of one stream from pieces of any size."""

    __slots__ = ("_buffer", "_compressed", "_limit")

    def __init__(self, compress: str, limit: int = BODY_LIMIT) -> None:
        """`limit`: the largest message in bytes, before and after decompression."""
        self._compressed = compress == ZSTD
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield each message that is complete now. Exhaust it. Raises WireError; nothing can follow that."""
        self._buffer += data
        while len(self._buffer) >= LENGTH_SIZE:
            size = int.from_bytes(self._buffer[:LENGTH_SIZE], "little")
            if not 0 < size <= self._limit:
                raise Malformed(f"expected a map frame of 1 to {self._limit} bytes, got {size}")
            end = LENGTH_SIZE + size
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[LENGTH_SIZE:end])
            del self._buffer[:end]
            yield decompress(body, self._limit) if self._compressed else body

    def __bool__(self) -> bool:
        """True while a message has begun and not ended: a stream that ends then was cut."""
        return bool(self._buffer)


def decompress(body: bytes, limit: int) -> bytes:
    """Exactly one zstd frame, whatever size it declares. Raises Malformed, also when more than `limit` would come."""
    return unfold(body, limit, WINDOW_LOG)
