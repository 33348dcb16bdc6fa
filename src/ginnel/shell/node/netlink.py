"""A netlink socket: requests in batches, dumps, and the kernel's answers to them.

Room: shell. The kernel does what a request says before `send` returns, so nothing here waits: no task, no await, and
what was asked for stands when the call comes back.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator, Sequence
from types import TracebackType

from ginnel.wire import rtnetlink as rt

SOL_NETLINK = 270
NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK = 10, 12
BATCH = 64  # requests in one datagram; their answers fit the smallest receive buffer
DATAGRAM = 65536
PATIENCE = 5.0
FAMILY_OFF = frozenset({errno.EACCES, errno.EOPNOTSUPP, errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})
"""What the kernel says where IPv6 is off. (Without root it says EPERM, so EACCES is not taken for that.)"""
NO_SUCH_TABLE = errno.ENOENT

Request = tuple[int, int, bytes]
"""Kind, flags, body."""


class Netlink:
    """A context. Raises OSError when the kernel does not take part at all."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_CAP_ACK, 1)
        self._socket.setsockopt(SOL_NETLINK, NETLINK_GET_STRICT_CHK, 1)
        self._socket.settimeout(PATIENCE)
        self._socket.bind((0, 0))
        self._sequence = 0

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    @property
    def port(self) -> int:
        """By which the kernel's notices name what this socket brought about."""
        port: int = self._socket.getsockname()[0]
        return port

    def perform(self, requests: Sequence[Request]) -> list[int]:
        """Do them in order, whatever becomes of the ones before. Returns each one's errno, 0: done."""
        errors: list[int] = []
        for start in range(0, len(requests), BATCH):
            errors += self._batch(requests[start : start + BATCH])
        return errors

    def dump(self, kind: int, body: bytes) -> Iterator[bytes]:
        """The bodies of what there is; of a family or table that the kernel does not have, none."""
        first = self._next()
        self._socket.send(rt.encode(kind, rt.DUMP, first, body))
        found: list[bytes] = []
        while True:
            for message in self._answers(first, first):
                if message.kind not in (rt.Kind.DONE, rt.Kind.ERROR):
                    found.append(message.body)
                    continue
                error = rt.error_of(message)
                if error and error not in FAMILY_OFF and error != NO_SUCH_TABLE:
                    raise OSError(error, os.strerror(error))
                return iter(found)

    def _batch(self, requests: Sequence[Request]) -> list[int]:
        first = self._sequence + 1
        self._socket.send(
            b"".join(rt.encode(kind, flags | rt.ACK, self._next(), body) for kind, flags, body in requests)
        )
        errors: dict[int, int] = {}
        while len(errors) < len(requests):
            for message in self._answers(first, self._sequence):
                errors[message.sequence] = rt.error_of(message)
        return [errors[sequence] for sequence in sorted(errors)]

    def _answers(self, first: int, last: int) -> list[rt.Message]:
        """Of one datagram; an answer to an older question, that timed out, is none."""
        datagram = self._socket.recv(DATAGRAM)
        return [message for message in rt.messages(datagram) if first <= message.sequence <= last]

    def _next(self) -> int:
        self._sequence += 1
        return self._sequence
