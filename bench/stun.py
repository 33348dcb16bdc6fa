"""STUN answers for each second of the server's own CPU time, beside derper's.

A generator keeps a window of requests under way from several sockets on loopback; what counts is answers divided by the
CPU time of the relay's threads while they were given.
"""

from __future__ import annotations

import selectors
import socket
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from bench import _peers
from bench import _relays as relays
from bench._rows import Row, burden, row

Start = Callable[[], AbstractContextManager[relays.Running]]
SECONDS = 2.0
SOCKETS = 8
WINDOW = 64
SUCCESS = b"\x01\x01"


def rows(n: int) -> Iterator[Row]:
    binary = _peers.find("BENCH_DERPER")
    sides: list[Start] = [relays.ours]
    if binary is not None:
        sides.append(lambda: relays.derper(binary))
    runs = [[_answers(side) for side in sides] for _ in range(n)]
    mine, theirs = [run[0] for run in runs], [run[1] for run in runs if len(run) > 1]
    notes = f"{SOCKETS} sockets with {WINDOW} requests under way each, {SECONDS:g} s; {burden()}"
    absent = _peers.absent("BENCH_DERPER")
    yield row(
        "stun/answers", "answers/CPU second", mine, theirs, peer="derper", limit=300_000, notes=notes, absent=absent
    )


def request() -> bytes:
    head = bytes.fromhex("000100142112a442") + bytes(range(12)) + b"\x80\x22\x00\x08tailnode"
    return head + b"\x80\x28\x00\x04" + (zlib.crc32(head) ^ 0x5354554E).to_bytes(4, "big")


def _answers(side: Start) -> float:
    with side() as relay:
        before = relay.cpu_seconds()
        answers = _ask(relay.stun)
        return answers / (relay.cpu_seconds() - before)


def _ask(port: int) -> int:
    packet, answers = request(), 0
    with selectors.DefaultSelector() as selector:
        sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(SOCKETS)]
        for udp in sockets:
            udp.connect(("127.0.0.1", port))
            udp.setblocking(False)
            selector.register(udp, selectors.EVENT_READ)
            _send(udp, packet, WINDOW)
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            ready = selector.select(0.05)
            for udp in [key.fileobj for key, _ in ready] or sockets:  # after silence all is lost: start anew
                assert isinstance(udp, socket.socket)
                came = _drain(udp)
                answers += came
                _send(udp, packet, came if ready else WINDOW)
        for udp in sockets:
            udp.close()
    return answers


def _send(udp: socket.socket, packet: bytes, count: int) -> None:
    for _ in range(count):
        udp.send(packet)


def _drain(udp: socket.socket) -> int:
    count = 0
    while True:
        try:
            count += udp.recv(100).startswith(SUCCESS)
        except BlockingIOError:
            return count
