"""A name server that knows no name, or says nothing at all, and remembers each that it was asked for.

Room: lab. Hosts of a lab have no resolver, so a program that asks for a name waits until it gives up; with this one it
hears "no such name" at once, and the lab learns whom it wanted to reach.
"""

from __future__ import annotations

import socket
import threading
from abc import ABC, abstractmethod
from collections import Counter
from contextlib import suppress
from types import TracebackType
from typing import Self

from ginnel.lab.namespace import Inside

DNS = 53
LOOK_AGAIN = 0.1
HEADER, LONGEST = 12, 512
ANSWER_NXDOMAIN = b"\x81\x83"  # a response, recursion as asked for, name error (RFC 1035 §4.1.1)


class NameServer(ABC):
    """A context: answers on UDP 53 of an address of `space`. `asked` counts names in lower case."""

    def __init__(self, space: Inside, address: str) -> None:
        self.asked: Counter[str] = Counter()
        self.socket = space.socket(socket.SOCK_DGRAM, (address, DNS))
        self.ending = threading.Event()
        # As all threads here a daemon: where SIGTERM comes between its start and the block, nobody ends it.
        self.thread = threading.Thread(target=self.serve, name="names", daemon=True)

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ending.set()
        self.thread.join()
        self.socket.close()

    def serve(self) -> None:
        self.socket.settimeout(LOOK_AGAIN)
        while not self.ending.is_set():
            with suppress(TimeoutError):
                query, asker = self.socket.recvfrom(LONGEST)
                if (answer := self.heard(query)) is not None:
                    self.socket.sendto(answer, asker)

    def heard(self, query: bytes) -> bytes | None:
        if (found := question(query)) is None:
            return None
        name, end = found
        self.asked[name] += 1
        return self.answer(name, query, end)

    @abstractmethod
    def answer(self, name: str, query: bytes, end: int) -> bytes | None:
        """`end`: of the first question in the query. None: silence."""


class NoNames(NameServer):
    """Knows no name, unless it is `silent`."""

    silent = False

    def below(self, *domains: str) -> list[str]:
        """The names in these domains that were asked for."""
        return sorted(name for name in self.asked if any(f".{name}".endswith(f".{domain}") for domain in domains))

    def answer(self, name: str, query: bytes, end: int) -> bytes | None:  # noqa: ARG002
        return None if self.silent else no_such_name(query, end)


def question(query: bytes) -> tuple[str, int] | None:
    """The first question's name, and where it ends; None for what is no query."""
    labels, at = [], HEADER
    while at < len(query) and (size := query[at]):
        labels.append(query[at + 1 : at + 1 + size].decode("ascii", "replace").lower())
        at += 1 + size
    end = at + 5  # the root label, type, class
    return (".".join(labels), end) if labels and end <= len(query) else None


def no_such_name(query: bytes, end: int) -> bytes:
    """The query's own first question, and a name error."""
    return query[:2] + ANSWER_NXDOMAIN + b"\0\1" + bytes(6) + query[HEADER:end]
