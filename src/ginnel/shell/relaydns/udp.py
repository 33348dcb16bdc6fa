"""DNS by UDP: each answer leaves from the address that was asked, also where one socket has them all.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import Counter
from collections.abc import Callable, Sequence

log = logging.getLogger("ginnel.relaydns")

MAX_DATAGRAM = 4096
"""Of a query. What is longer arrives cut and is malformed."""
BATCH = 64
"""Datagrams in one turn of the loop, which others wait for."""
BUFFER = 1 << 20
_IP_PKTINFO = 8
_IN_PKTINFO = struct.Struct("=I4s4s")
_IN6_PKTINFO = struct.Struct("=16sI")
_ANCILLARY = socket.CMSG_SPACE(_IN6_PKTINFO.size) + socket.CMSG_SPACE(_IN_PKTINFO.size)

Ask = Callable[[bytes, bytes], Sequence[bytes]]
"""(packet, packed source address) -> what to send back."""
Ancillary = list[tuple[int, int, bytes]]


class UdpListener:
    """One bound socket, read until `close`."""

    def __init__(self, bound: socket.socket, ask: Ask, counters: Counter[str]) -> None:
        self._socket = bound
        self._family = bound.family
        self._ask = ask
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        if self._family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
        else:
            bound.setsockopt(socket.IPPROTO_IP, _IP_PKTINFO, 1)
        self._loop.add_reader(bound, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                packet, ancillary, _, source = self._socket.recvmsg(MAX_DATAGRAM, _ANCILLARY)
            except BlockingIOError:
                return
            except OSError:
                self._counters["receive failed"] += 1
                return
            if not source[1]:
                continue  # nothing listens at port 0
            for answer in self._ask(packet, socket.inet_pton(self._family, source[0].partition("%")[0])):
                self._send(answer, ancillary, source)

    def _send(self, answer: bytes, ancillary: Ancillary, source: tuple[object, ...]) -> None:
        try:
            self._socket.sendmsg([answer], _from_asked(ancillary), 0, source)
        except OSError:  # a full buffer, or a forged source that no route leads to; UDP may lose it
            self._counters["send failed"] += 1


def _from_asked(ancillary: Ancillary) -> Ancillary:
    """The address that was asked, as the source; the way is the routing table's. Link-local ones need their link."""
    answer = []
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IP and kind == _IP_PKTINFO and len(data) >= _IN_PKTINFO.size:
            _, local, _ = _IN_PKTINFO.unpack_from(data)
            answer.append((level, kind, _IN_PKTINFO.pack(0, local, bytes(4))))
        elif level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO and len(data) >= _IN6_PKTINFO.size:
            address, link = _IN6_PKTINFO.unpack_from(data)
            keep = link if address.startswith(b"\xfe\x80") else 0
            answer.append((level, kind, _IN6_PKTINFO.pack(address, keep)))
    return answer
