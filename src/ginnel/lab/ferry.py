"""`python -m ginnel.lab.ferry`: the process that carries frames between the two ends of each wire of a lab.

Room: lab. The kernel here has no netem, so a wire is two TAP devices and this process between them. It is one of its
own, so that no other thread's work delays a frame, and one for all wires, since most of it waits. select() is used
because it alone among Python's waits takes microseconds.

Started with descriptors it inherits; see wires.py, which also has the other end of the control socket.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from contextlib import suppress
from dataclasses import asdict, replace
from socket import AF_UNIX, SOCK_SEQPACKET, socket
from typing import Any

from ginnel.lab.line import Impairment, Line

FRAME = 1 << 16
AT_ONCE = 32  # frames of one device before the others have their turn
MESSAGE = 1 << 14
BEFORE_OTHERS = -10  # a frame's delay is the point of it; what is between may wait
UP, DOWN = "up", "down"


class Ferry:
    """`wires` maps a name to the descriptors of its lower and its upper end; `up` is the line from lower to upper."""

    def __init__(self, wires: dict[str, tuple[int, int]], impairments: dict[str, Impairment], seed: int) -> None:
        self.lines: dict[str, dict[str, Line]] = {}
        self.ways: dict[int, tuple[Line, int]] = {}  # from where, by which line, to where
        for number, (name, (lower, upper)) in enumerate(wires.items()):
            up, down = (Line(impairments[name], seed + 2 * number + which) for which in (0, 1))
            self.lines[name] = {UP: up, DOWN: down}
            self.ways[lower], self.ways[upper] = (up, upper), (down, lower)

    def serve(self, control: socket) -> None:
        """For ever."""
        askers: dict[int, socket] = {}
        while True:
            ready, _, _ = select.select([*self.ways, control.fileno(), *askers], [], [], self.patience())
            for one in ready:
                if one in self.ways:
                    self.collect(one)
                elif one == control.fileno():
                    asker, _ = control.accept()
                    askers[asker.fileno()] = asker
                elif not self.heed(askers[one]):
                    askers.pop(one).close()
            self.deliver()

    def patience(self) -> float | None:
        times = [at for line, _ in self.ways.values() if (at := line.next_due()) is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def collect(self, source: int) -> None:
        line, _ = self.ways[source]
        with suppress(BlockingIOError):
            for _ in range(AT_ONCE):
                line.take(os.read(source, FRAME), time.monotonic())

    def deliver(self) -> None:
        for line, target in self.ways.values():
            for frame in line.due(time.monotonic()):
                with suppress(OSError):  # the device is down: a cable without a machine at its end
                    os.write(target, frame)

    def heed(self, asker: socket) -> bool:
        """One message of somebody who wants wires changed or counted; False when there are no more."""
        try:
            message = asker.recv(MESSAGE)
            if message:
                asker.send(json.dumps(self.obey(json.loads(message))).encode())
        except OSError:
            return False
        return bool(message)

    def obey(self, wish: dict[str, Any]) -> dict[str, Any]:
        """{"wire", "ways": ["up", "down"], "change": {...}}: what is named there changes, the rest stays."""
        try:
            lines = self.lines[wish["wire"]]
            changed = {way: replace(lines[way].impairment, **wish.get("change", {})) for way in wish["ways"]}
        except (KeyError, TypeError, ValueError) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        for way, impairment in changed.items():
            lines[way].impairment = impairment
        return {
            way: {"impairment": asdict(line.impairment), "count": asdict(line.count)} for way, line in lines.items()
        }


def main() -> None:
    """Standard input has {"seed", "control": descriptor, "wires": {name: [lower, upper, impairment]}}."""
    told = json.load(sys.stdin)
    with suppress(PermissionError):
        os.nice(BEFORE_OTHERS)
    wires = {name: (lower, upper) for name, (lower, upper, _) in told["wires"].items()}
    impairments = {name: Impairment(**how) for name, (_, _, how) in told["wires"].items()}
    Ferry(wires, impairments, told["seed"]).serve(socket(AF_UNIX, SOCK_SEQPACKET, fileno=told["control"]))


if __name__ == "__main__":
    main()
