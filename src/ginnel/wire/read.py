"""Reading bytes without counting them: each step takes what it names or raises Truncated.

Room: wire. No sockets, clocks, randomness or logs come in.
"""

from __future__ import annotations


class WireError(Exception):
    """What came does not have the form that its source prescribes. The only exception a codec lets out."""


class Truncated(WireError):
    """The bytes end before the message does."""


class Malformed(WireError):
    """The bytes are all there and say something the format does not allow."""


class Reader:
    """A cursor over bytes; big-endian integers unless a name says `le`."""

    __slots__ = ("_at", "_data", "_end")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)
        self._at = 0
        self._end = len(self._data)

    def __bool__(self) -> bool:
        return self._at < self._end

    @property
    def offset(self) -> int:
        return self._at

    @property
    def remaining(self) -> int:
        return self._end - self._at

    def take(self, size: int, *, pad_to: int = 1) -> bytes:
        """The next `size` bytes; padding up to a multiple of `pad_to` is skipped where it is there."""
        if size < 0 or size > self.remaining:
            raise Truncated(f"expected {size} bytes at offset {self._at}, {self.remaining} are left")
        taken = bytes(self._data[self._at : self._at + size])
        self._at = min(self._end, self._at + size + (-size % pad_to))
        return taken

    def rest(self) -> bytes:
        return self.take(self.remaining)

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u24(self) -> int:
        return int.from_bytes(self.take(3), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def u32le(self) -> int:
        return int.from_bytes(self.take(4), "little")

    def expect(self, magic: bytes, what: str) -> None:
        at = self._at
        if self.take(len(magic)) != magic:
            raise Malformed(f"expected {what} at offset {at}")
