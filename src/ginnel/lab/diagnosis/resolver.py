"""The name server of a network under diagnosis: it tells the truth, lies, refuses or says nothing.

Room: lab.
"""

from __future__ import annotations

import socket
import threading
from collections import Counter
from contextlib import suppress
from ipaddress import ip_address
from types import TracebackType
from typing import Literal

from ginnel.lab.names import DNS, HEADER, LONGEST, LOOK_AGAIN, question
from ginnel.lab.namespace import Inside

Mood = Literal["truth", "silent", "servfail", "nxdomain", "one-address"]
A, AAAA = b"\0\1", b"\0\x1c"
RESPONSE, NAME_ERROR, SERVER_FAILURE = b"\x81\x80", b"\x81\x83", b"\x81\x82"
SECONDS_TO_LIVE = b"\0\0\0\x0a"


class Resolver:
    """A context: answers on UDP 53 of an address of `space` from `table`, names to addresses of both families.

    `mood` is for every name; `lies` names some that get other addresses. `liar`: what all names lead to in
    `one-address`. `asked` counts names in lower case.
    """

    def __init__(self, space: Inside, address: str, table: dict[str, tuple[str, ...]], liar: str = "") -> None:
        self.table, self.liar = dict(table), liar
        self.asked: Counter[str] = Counter()
        self.lies: dict[str, tuple[str, ...]] = {}
        self.mood: Mood = "truth"
        self.socket = space.socket(socket.SOCK_DGRAM, (address, DNS))
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.serve, name="resolver", daemon=True)

    def __enter__(self) -> Resolver:
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
                if (answer := self.answer(query)) is not None:
                    self.socket.sendto(answer, asker)

    def answer(self, query: bytes) -> bytes | None:
        if (found := question(query)) is None:
            return None
        name, end = found
        self.asked[name] += 1
        if self.mood == "silent":
            return None
        asked = query[HEADER:end]
        if self.mood == "servfail":
            return query[:2] + SERVER_FAILURE + b"\0\1" + bytes(6) + asked
        known = (self.liar,) if self.mood == "one-address" else self.lies.get(name, self.table.get(name))
        if known is None or self.mood == "nxdomain":
            return query[:2] + NAME_ERROR + b"\0\1" + bytes(6) + asked
        records = [record(address) for address in known if kind_of(address) == asked[-4:-2]]
        return query[:2] + RESPONSE + b"\0\1" + len(records).to_bytes(2, "big") + bytes(4) + asked + b"".join(records)


def kind_of(address: str) -> bytes:
    return AAAA if ":" in address else A


def record(address: str) -> bytes:
    packed = ip_address(address).packed
    return b"\xc0\x0c" + kind_of(address) + b"\0\1" + SECONDS_TO_LIVE + len(packed).to_bytes(2, "big") + packed
