"""The name server of a network under diagnosis: it tells the truth, lies, refuses or says nothing.

Room: lab.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import Literal

from ginnel.lab.names import HEADER, NameServer
from ginnel.lab.namespace import Inside

Mood = Literal["truth", "silent", "servfail", "nxdomain", "one-address"]
A, AAAA = b"\0\1", b"\0\x1c"
RESPONSE, NAME_ERROR, SERVER_FAILURE = b"\x81\x80", b"\x81\x83", b"\x81\x82"
SECONDS_TO_LIVE = b"\0\0\0\x0a"


class Resolver(NameServer):
    """Answers from `table`, names to addresses of both families.

    `mood` is for every name; `lies` names some that get other addresses. `liar`: what all names lead to in
    `one-address`.
    """

    def __init__(self, space: Inside, address: str, table: dict[str, tuple[str, ...]], liar: str = "") -> None:
        super().__init__(space, address)
        self.table, self.liar = dict(table), liar
        self.lies: dict[str, tuple[str, ...]] = {}
        self.mood: Mood = "truth"

    def answer(self, name: str, query: bytes, end: int) -> bytes | None:
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
