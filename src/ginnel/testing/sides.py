"""Side sockets of one process: further UDP sockets, each with NAT mappings of its own, to search for paths with.

Room: testing. A model of the pump's (native/ginnel-pump/src/side.rs).
"""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import TYPE_CHECKING

from ginnel.testing.pump import MAGIC
from ginnel.wire import disco, stun
from ginnel.words import Endpoint

if TYPE_CHECKING:
    from ginnel.testing.node import SimNode

SIDE_MAX = 1024
FIRST_PORT, LAST_PORT = 32768, 60999  # what Linux chooses from


class SideSockets:
    """Numbers are never used again."""

    def __init__(self, node: SimNode) -> None:
        self._node = node
        self._process = node.process
        self._ports: dict[int, int] = {}
        self._last = 0

    def __len__(self) -> int:
        return len(self._ports)

    def __contains__(self, number: int) -> bool:
        return number in self._ports

    def open(self, count: int) -> list[tuple[int, int]]:
        """Number and port of each that could be had."""
        opened = [self._one() for _ in range(min(count, SIDE_MAX - len(self._ports)))]
        self._node.world.watch.sides.opened(self._node, [number for number, _ in opened])
        return opened

    def _one(self) -> tuple[int, int]:
        node, number = self._node, self._last + 1
        port = node.world.random.randint(FIRST_PORT, LAST_PORT)
        while port in node.host.sockets:
            port = node.world.random.randint(FIRST_PORT, LAST_PORT)
        node.host.sockets[port] = lambda source, packet: self._arrived(number, source, packet)
        self._last, self._ports[number] = number, port
        return number, port

    def close(self, numbers: Iterable[int]) -> None:
        closed = [number for number in numbers if number in self._ports]
        for number in closed:
            del self._node.host.sockets[self._ports.pop(number)]
        self._node.world.watch.sides.closed(self._node, closed)

    def send(self, number: int, to: Endpoint, packet: bytes, ttl: int) -> None:
        node = self._node
        port = self._ports.get(number)
        if port is None:
            node.later(0.0, node.unsendable, to, errno.EADDRNOTAVAIL, number)
        elif not node.world.network.send(node.host, port, to, packet, ttl):
            node.later(0.0, node.unsendable, to, errno.ENETUNREACH, number)

    def _arrived(self, number: int, source: Endpoint, packet: bytes) -> None:
        node = self._node
        if node.process != self._process or number not in self._ports:
            return
        node.world.watch.sides.heard(node, number, source)
        if disco.is_disco(packet):
            node.input_aside(node.mesh.disco_received, number, source, packet)
        elif stun.is_stun(packet):
            node.input_aside(node.mesh.stun_received, number, source, packet)
        elif packet.startswith(MAGIC):
            node.pump.received(source, packet, number)
