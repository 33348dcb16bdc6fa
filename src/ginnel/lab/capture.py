"""Looking at every frame of an interface for bytes that must not be there.

Room: lab. Frames are searched as they come and thrown away. A frame that was lost is a frame that was not searched,
so losses are counted and told.
"""

from __future__ import annotations

import secrets
import socket
import struct
import threading
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from ginnel.lab.namespace import Inside

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_STATISTICS = 263, 6
SO_RCVBUFFORCE = 33
BUFFER = 64 << 20
FRAME = 1 << 17
LOOK_AGAIN = 0.1
QUEUED_MOST = BUFFER // 64
NEEDLE = 16


def telltale(blocks: int) -> tuple[bytes, bytes]:
    """A payload and a needle that any 80 contiguous bytes of it contain."""
    block = secrets.token_bytes(64)
    return block * blocks, block[:NEEDLE]


@dataclass(slots=True)
class Seen:
    frames: int = 0
    bytes: int = 0
    with_needle: int = 0
    lost: int = 0

    def __str__(self) -> str:
        return f"{self.frames} frames, {self.bytes} bytes, {self.with_needle} with the payload, {self.lost} lost"


class Capture:
    """A context that searches what passes `interface`; `seen` is complete when the block has ended."""

    def __init__(self, space: Inside, interface: str, needle: bytes) -> None:
        self.space, self.interface, self.needle = space, interface, needle
        self.seen = Seen()
        self.ending = threading.Event()

    def __enter__(self) -> Capture:
        self.socket = self.space.call(open_capture, self.interface)
        self.thread = threading.Thread(target=self.search, name="capture", daemon=True)
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ending.set()
        self.thread.join()
        _, self.seen.lost = struct.unpack("II", self.socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8))
        self.socket.close()

    def search(self) -> None:
        """Until told to end, and then what is queued; an interface that is never quiet must not keep it here."""
        self.socket.settimeout(LOOK_AGAIN)
        while not self.ending.is_set():
            with suppress(TimeoutError):
                self.look_at(self.socket.recv(FRAME))
        self.socket.setblocking(False)
        with suppress(BlockingIOError):
            for _ in range(QUEUED_MOST):
                self.look_at(self.socket.recv(FRAME))

    def look_at(self, frame: bytes) -> None:
        self.seen.frames += 1
        self.seen.bytes += len(frame)
        self.seen.with_needle += self.needle in frame


def open_capture(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER)
    except PermissionError:  # root of a user namespace may not; a loss would be counted
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
    opened.bind((interface, 0))
    return opened
