"""What goes through the tunnel: packets of applications, and the filter that judges them at the far end.

Room: testing. A model of the pump's table (native/ginnel-pump/src/filter.rs) for one protocol, UDP.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Self

from ginnel.core.node.actions import FilterRow

CANARY = b"in the clear:"
"""Begins every packet of an application: nothing that leaves a machine may hold it."""
UDP = 17
FLOWS = 512


@dataclass(frozen=True, slots=True)
class Inner:
    """An application's packet; addresses as text."""

    source: str
    source_port: int
    destination: str
    port: int
    body: bytes

    def encode(self) -> bytes:
        head = f"{self.source} {self.source_port} {self.destination} {self.port} ".encode()
        return CANARY + head + self.body

    @classmethod
    def decode(cls, plain: bytes) -> Self:
        source, source_port, destination, port, body = plain[len(CANARY) :].split(b" ", 4)
        return cls(source.decode(), int(source_port), destination.decode(), int(port), body)

    def answer(self, body: bytes) -> Inner:
        return Inner(self.destination, self.port, self.source, self.source_port, body)


class PacketFilter:
    """Answers to what went out come in, else what a row admits; without a row nothing does."""

    def __init__(self) -> None:
        self._rows: tuple[FilterRow, ...] = ()
        self._local: tuple[str, ...] = ()
        self._flows: OrderedDict[tuple[str, int, str, int], None] = OrderedDict()
        self._judged: dict[tuple[str, str, int], bool] = {}

    def replace(self, rows: Sequence[FilterRow]) -> None:
        self._rows = tuple(rows)
        self._judged.clear()

    def local(self, prefixes: Sequence[str]) -> None:
        self._local = tuple(prefixes)

    def sent(self, inner: Inner) -> None:
        flow = (inner.destination, inner.port, inner.source, inner.source_port)
        self._flows[flow] = None
        self._flows.move_to_end(flow)
        if len(self._flows) > FLOWS:
            self._flows.popitem(last=False)

    def admits(self, inner: Inner) -> bool:
        if not covers(self._local, inner.destination):
            return False
        if (inner.source, inner.source_port, inner.destination, inner.port) in self._flows:
            return True
        asked = (inner.source, inner.destination, inner.port)
        if asked not in self._judged:
            self._judged[asked] = any(_row_admits(row, *asked) for row in self._rows)
        return self._judged[asked]


def _row_admits(row: FilterRow, source: str, destination: str, port: int) -> bool:
    sources, destinations, protocols = row
    return (
        UDP in protocols
        and covers(sources, source)
        and any(first <= port <= last and covers((prefix,), destination) for prefix, first, last in destinations)
    )


def covers(prefixes: Iterable[str], address: str) -> bool:
    """Whether one of them, a prefix or a range `a-b`, holds the address."""
    return any(_holds(prefix, address) for prefix in prefixes)


@lru_cache(maxsize=65536)
def _holds(prefix: str, address: str) -> bool:
    ip = ip_address(address)
    first, dash, last = prefix.partition("-")
    if dash:
        low, high = ip_address(first), ip_address(last)
        return low.version == ip.version and int(low) <= int(ip) <= int(high)
    return ip in ip_network(prefix)
