"""One zstd frame and its content (RFC 8878), with bounds on what a stranger's frame may unfold into.

Room: wire. Bytes become bytes. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations

import sys

from ginnel.wire.read import Malformed

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


__all__ = ["TooLong", "fold", "unfold", "zstd"]


class TooLong(Malformed):
    """It would unfold into more than the limit."""


def fold(body: bytes, level: int = 1) -> bytes:
    """One frame with a checksum."""
    return zstd.compress(body, options={
        zstd.CompressionParameter.compression_level: level,
        zstd.CompressionParameter.checksum_flag: 1,
    })  # fmt: skip


def unfold(body: bytes, limit: int, window_log: int) -> bytes:
    """Exactly one frame, whatever size it declares, that asks for a window of at most 2**window_log bytes. Raises
    Malformed, TooLong among them; memory stays below limit and window together."""
    decompressor = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: window_log})
    try:
        content = decompressor.decompress(body, max_length=limit)
    except zstd.ZstdError as error:
        raise Malformed(f"zstd: {error}") from None
    if not decompressor.eof and len(content) < limit:
        raise Malformed("the zstd frame ends early")
    if not decompressor.eof:
        raise TooLong(f"the zstd frame holds more than {limit} bytes")
    if decompressor.unused_data:
        raise Malformed("something follows the zstd frame")
    return content
