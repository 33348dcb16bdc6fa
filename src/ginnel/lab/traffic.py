"""Real traffic between two hosts: one TCP connection that is watched from both of its ends.

Room: lab. Both ends' sockets are ours, so one monotonic clock stamps the first packet that was wanted and the first
byte that arrived. The connection stays up for the whole scenario: a path that changes under it must not break it.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
from collections import deque
from contextlib import suppress
from types import TracebackType

from ginnel.lab import LabError
from ginnel.lab.namespace import Inside
from ginnel.lab.processes import until

CHUNK = 1 << 18
TRICKLE_EVERY = 0.05
TRICKLE = b"still here "
OPEN_LIMIT = 10.0
ARRIVALS = 1 << 13


class Conversation:
    """A TCP stream from one host to another by the other's mesh address.

    A context: opened within `limit` seconds (LabError otherwise), closed at the end. `seconds_to_first_byte` counts
    from the call of connect() to the first byte at the other end; `begun` is set just before that call. `arrivals` has
    the monotonic seconds of the newest chunks.
    """

    def __init__(self, sender: Inside, receiver: Inside, address: str, limit: float) -> None:
        self.sender, self.receiver, self.address, self.limit = sender, receiver, address, limit
        self.sent, self.sent_hash = 0, hashlib.sha256()
        self.received, self.received_hash = 0, hashlib.sha256()
        self.first_byte_at = 0.0
        self.started = 0.0
        self.arrivals: deque[float] = deque(maxlen=ARRIVALS)
        self.begun, self.ending = threading.Event(), threading.Event()
        self.sending = threading.Lock()
        self.broken = ""
        self.connection: socket.socket | None = None

    def __enter__(self) -> Conversation:
        self.listener = until(self.listen, self.limit, f"{self.address} to be an address of its host")
        self.listener.listen(1)
        self.listener.settimeout(self.limit)
        self.sink = threading.Thread(target=self.receive, name="sink", daemon=True)
        self.sink.start()
        self.source = self.sender.call(socket.socket, socket.AF_INET, socket.SOCK_STREAM)
        self.source.settimeout(self.limit)
        self.trickler = threading.Thread(target=self.trickle, name="trickle", daemon=True)
        try:
            self.open()
        except BaseException:
            self.close()
            raise
        return self

    def listen(self) -> socket.socket | None:
        try:
            return self.receiver.socket(socket.SOCK_STREAM, (self.address, 0))
        except OSError:
            return None

    def open(self) -> None:
        self.started = time.monotonic()
        self.begun.set()
        try:
            self.source.connect(self.listener.getsockname())
        except OSError as error:
            raise LabError(f"no TCP connection to {self.address} within {self.limit:g} s: {error}") from None
        self.send(TRICKLE)
        until(lambda: self.first_byte_at or None, self.limit, f"the first byte at {self.address}")
        self.trickler.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self.ending.set()
        if self.trickler.is_alive():
            self.trickler.join()
        self.source.close()
        if self.connection is not None:
            with suppress(OSError):  # it may have ended by itself; if its path is dead, only this wakes the reader
                self.connection.shutdown(socket.SHUT_RDWR)
        self.sink.join()
        self.listener.close()

    @property
    def seconds_to_first_byte(self) -> float:
        return self.first_byte_at - self.started

    def send(self, payload: bytes) -> None:
        with self.sending:
            try:
                self.source.sendall(payload)
            except OSError as error:
                self.broken = self.broken or f"sending: {error}"
                return
            self.sent_hash.update(payload)
            self.sent += len(payload)

    def send_and_wait(self, payload: bytes, limit: float) -> float:
        """Seconds until the last byte has arrived; LabError when the stream breaks or the digests differ."""
        started = time.monotonic()
        self.send(payload)
        until(lambda: self.arrived() or None, limit, f"{len(payload)} bytes to arrive at {self.address}")
        took = time.monotonic() - started
        if self.broken:
            raise LabError(f"the connection to {self.address} broke: {self.broken}")
        return took

    def arrived(self) -> bool:
        if self.broken:
            return True
        with self.sending:
            return self.received == self.sent

    def intact(self) -> bool:
        """Everything sent so far arrives, byte for byte; what is on its way gets its time."""
        with self.sending:
            with suppress(LabError):
                until(lambda: self.broken or self.received >= self.sent or None, self.limit, "the rest to arrive")
            return not self.broken and self.received_hash.digest() == self.sent_hash.digest()

    def trickle(self) -> None:
        """A peer that is not spoken to is left alone; this keeps it spoken to."""
        while not self.ending.wait(TRICKLE_EVERY) and not self.broken:
            self.send(TRICKLE)

    def receive(self) -> None:
        try:
            connection, _ = self.listener.accept()
        except OSError as error:
            self.broken = f"accepting: {error}"
            return
        connection.settimeout(None)
        self.connection = connection
        with connection:
            try:
                while chunk := connection.recv(CHUNK):
                    self.arrivals.append(time.monotonic())
                    self.first_byte_at = self.first_byte_at or self.arrivals[-1]
                    self.received_hash.update(chunk)
                    self.received += len(chunk)  # last, for who waits for it looks at the hash then
            except OSError as error:
                self.broken = f"receiving: {error}"


def throughput(sender: Inside, receiver: Inside, address: str, seconds: float) -> float:
    """Bits per second of one TCP stream, counted where they arrive; LabError when it does not get going."""
    counter = [0]
    with (
        receiver.socket(socket.SOCK_STREAM, (address, 0)) as listener,
        sender.call(socket.socket, socket.AF_INET, socket.SOCK_STREAM) as source,
    ):
        listener.listen(1)
        listener.settimeout(OPEN_LIMIT)
        source.settimeout(OPEN_LIMIT)
        try:
            source.connect(listener.getsockname())
            there, _ = listener.accept()
        except OSError as error:
            raise LabError(f"no TCP connection to {address}: {error}") from None
        with there:
            sink = threading.Thread(target=count, args=(there, counter), name="sink", daemon=True)
            sink.start()
            started = time.monotonic()
            try:
                pour(source, started + seconds)
                return counter[0] * 8 / (time.monotonic() - started)
            finally:
                with suppress(OSError):  # wakes the reader even when its path is dead
                    there.shutdown(socket.SHUT_RDWR)
                sink.join()


def pour(source: socket.socket, until_then: float) -> None:
    block = bytes(1 << 20)
    try:
        while time.monotonic() < until_then:
            source.sendall(block)
    except OSError as error:
        raise LabError(f"the stream stopped: {error}") from None


def count(there: socket.socket, counter: list[int]) -> None:
    buffer = bytearray(1 << 20)
    with suppress(OSError):  # the other thread ends it
        while size := there.recv_into(buffer):
            counter[0] += size
