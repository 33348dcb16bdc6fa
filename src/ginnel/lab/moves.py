"""What traffic loses while its path changes: from the relay to the direct path, and back when that is taken away.

Room: lab. A TCP stream and datagrams both ways go on all the while. The path is taken away where its packets arrive, at
the two hosts alone: other pairs of the mesh do not notice, the routers between keep their mappings, and two hosts on
one LAN lose each other as well as two whose packets cross the internet.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from msgspec.structs import replace

from ginnel.lab import LabError
from ginnel.lab.datagrams import SIZE, Datagrams, longest_gap
from ginnel.lab.faults import Faults
from ginnel.lab.members import Node
from ginnel.lab.mesh import Mesh
from ginnel.lab.processes import until
from ginnel.lab.report import Move, Path
from ginnel.lab.scenario import Expect
from ginnel.lab.talk import Stream, Talk

SETTLE = 0.5  # seconds after a move in which its losses still count
UNDER_WAY = 0.25  # longer than any datagram takes
MOVE_LIMIT = 15.0
PAYLOAD = bytes(range(256)) * 256  # 64 KiB


@dataclass(frozen=True, slots=True)
class Moving:
    """A pair's traffic. The first of the nodes speaks first."""

    nodes: tuple[Node, Node]
    stream: Stream
    datagrams: Datagrams
    faults: Faults

    def to_direct(self, seconds: float | None) -> Move:
        """Called when both ends are direct. What counts is lost since the first byte of the stream arrived."""
        lives = self.goes_on()
        time.sleep(SETTLE)
        soon(lambda: self.path() == "direct")
        return self.count(self.stream.first_byte_at, seconds, lives=lives)

    def to_relay(self) -> Move:
        """The direct path is gone meanwhile, and open again afterwards."""
        began = time.monotonic()
        hosts = [node.name for node in self.nodes]
        try:
            self.faults.part(*hosts)
            parted = time.monotonic()
            lives = self.goes_on()
            flows = self.flows_again(parted)
            soon(lambda: self.path() == "relay")
            time.sleep(SETTLE)
            move = self.count(began - UNDER_WAY, flows, lives=lives)
            lives = lives and self.stream.carry(PAYLOAD, MOVE_LIMIT) is not None
        finally:
            self.faults.rejoin(*hosts)
        return move if lives else replace(move, stream_lives=False)

    def path(self) -> Path:
        a, b = self.nodes
        ways = a.way_to(b.address), b.way_to(a.address)
        return ways[0].path if ways[0].path == ways[1].path else "none"

    def goes_on(self) -> bool:
        """Whether what the stream is given from now on arrives."""
        sent = self.stream.sent
        return soon(lambda: bool(self.stream.broken) or self.stream.received > sent) and not self.stream.broken

    def flows_again(self, since: float) -> float | None:
        """Seconds until datagrams sent from `since` on have arrived both ways."""
        ways = self.datagrams.ways
        soon(lambda: all(way.through(since) for way in ways))
        through = [way.through(since) for way in ways]
        return max(at - since for at in through if at) if all(through) else None

    def count(self, since: float, seconds: float | None, *, lives: bool) -> Move:
        now = time.monotonic()
        ways, end = self.datagrams.ways, now - UNDER_WAY
        lost = sum(way.lost(since, end) for way in ways)
        return Move(
            stream_lives=lives,
            path=self.path(),
            seconds=None if seconds is None else round(seconds, 3),
            stream_still=round(longest_gap(list(self.stream.arrivals), since, now), 3),
            datagrams=sum(len(way.between(since, end)) for way in ways),
            datagrams_lost=lost,
            bytes_lost=lost * SIZE,
            silence=round(max(way.silence(since, now) for way in ways), 3),
        )


def soon(happens: Callable[[], bool]) -> bool:
    try:
        return until(lambda: happens() or None, MOVE_LIMIT, "the traffic to go on")
    except LabError:
        return False


def moving(mesh: Mesh, pair: Expect, talk: Talk, stack: ExitStack) -> Moving | None:
    """Datagrams begin beside a talk when it begins. None for talks that are no stream."""
    if not isinstance(talk, Stream):
        return None
    nodes = mesh.nodes[pair.a], mesh.nodes[pair.b]
    near, far = ((mesh.lab.spaces[node.name], node.address) for node in nodes)
    datagrams = stack.enter_context(Datagrams(near, far, talk.begun))
    return Moving(nodes, talk, datagrams, Faults(mesh.lab))


def told(move: Move) -> str:
    after = "never" if move.seconds is None else f"after {move.seconds:.2f} s"
    lost = f"{move.datagrams_lost} of {move.datagrams} datagrams ({move.bytes_lost} bytes) lost"
    return f"{move.path} {after}, {lost}, silence {move.silence:.2f} s, stream still for {move.stream_still:.2f} s"
