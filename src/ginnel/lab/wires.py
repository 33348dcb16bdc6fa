"""Links of a lab that have a length: delay, loss and what else a real line does, changed while it stands.

Room: lab. A wire takes the place of a veth pair: a TAP device at each end, under the names that the pair would have
had, and a process between them (ferry.py).
"""

from __future__ import annotations

import fcntl
import json
import os
import struct
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from socket import AF_UNIX, SOCK_SEQPACKET, socket
from typing import Any

from ginnel.lab import LabError
from ginnel.lab.ferry import DOWN, MESSAGE, UP
from ginnel.lab.line import Impairment
from ginnel.lab.namespace import Inside
from ginnel.lab.processes import DIES_WITH_US, Process

TUN_DEVICE = Path("/dev/net/tun")
TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
CONTROL = "wires.sock"
SEED = 4
ANSWER_LIMIT = 5.0
BOTH = (UP, DOWN)
SOURCES = Path(__file__).parents[2]

Veth = tuple[str, str, str, str]  # namespace below, its interface, namespace above, its interface


class Wires:
    """The wires of a lab that stands, by the name of what hangs below each (a router's or a host's)."""

    def __init__(self, directory: Path) -> None:
        """directory: the lab's."""
        self.control = directory / CONTROL

    def lay(
        self,
        spaces: Mapping[str, Inside],
        veths: Mapping[str, Veth],
        how: Mapping[str, Impairment],
        *,
        outlives_us: bool = False,
        seed: int = SEED,
    ) -> Process:
        """Make the devices and start the process between them; all of it goes when the process ends.

        veths: whose place each wire takes. how: the same names. The process runs in the namespace above the first.
        """
        with ExitStack() as stack:
            ends = {name: _both_ends(stack, spaces, veth) for name, veth in veths.items()}
            door = stack.enter_context(socket(AF_UNIX, SOCK_SEQPACKET))
            door.bind(str(self.control))
            self.control.chmod(0o600)
            door.listen()
            told = {
                "seed": seed,
                "control": door.fileno(),
                "wires": {name: [*pair, asdict(how[name])] for name, pair in ends.items()},
            }
            kept = [door.fileno(), *(end for pair in ends.values() for end in pair)]
            above = next(iter(veths.values()))[2]
            log = self.control.with_suffix(".log")
            popen = spaces[above].call(_start, log, kept, outlives_us)
        if popen.stdin is not None:
            with popen.stdin as stdin:
                stdin.write(json.dumps(told).encode())
        return Process("wires", popen, log, log)

    def change(self, name: str, *, ways: tuple[str, ...] = BOTH, **change: float) -> dict[str, Any]:
        """From now on a wire does this too: `wires.change("nat-alice", ways=("up",), delay=0.1, loss=0.01)`.

        What is not named stays as it was; words and units are Impairment's. LabError when there is no such wire or
        word. The state of both ways comes back, `{"up": {"impairment", "count"}, "down": ...}`.
        """
        return self._ask({"wire": name, "ways": ways, "change": change})

    def state(self, name: str) -> dict[str, Any]:
        return self._ask({"wire": name, "ways": ()})

    def _ask(self, wish: dict[str, Any]) -> dict[str, Any]:
        with socket(AF_UNIX, SOCK_SEQPACKET) as asker:
            asker.settimeout(ANSWER_LIMIT)
            try:
                asker.connect(str(self.control))
                asker.send(json.dumps(wish).encode())
                found: dict[str, Any] = json.loads(asker.recv(MESSAGE))
            except (OSError, ValueError) as error:
                raise LabError(f"the wires of this lab do not answer at {self.control}: {error}") from None
        if "error" in found:
            raise LabError(f"wire {wish['wire']}: {found['error']}")
        return found


def _both_ends(stack: ExitStack, spaces: Mapping[str, Inside], veth: Veth) -> tuple[int, int]:
    below, interface, above, port = veth
    lower = spaces[below].call(open_tap, interface)
    stack.callback(os.close, lower)
    upper = spaces[above].call(open_tap, port)
    stack.callback(os.close, upper)
    return lower, upper


def open_tap(name: str) -> int:
    """A TAP device in the calling thread's network namespace; it lives as long as the descriptor."""
    try:
        descriptor = os.open(TUN_DEVICE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    except OSError as error:
        raise LabError(f"cannot make a TAP device for a wire, {TUN_DEVICE}: {error.strerror}") from None
    return descriptor


def _start(log: Path, kept: list[int], outlives_us: bool) -> subprocess.Popen[bytes]:
    with log.open("ab") as told:
        return subprocess.Popen(
            [*(() if outlives_us else DIES_WITH_US), sys.executable, "-m", "ginnel.lab.ferry"],
            stdin=subprocess.PIPE,
            stdout=told,
            stderr=told,
            env={**os.environ, "PYTHONPATH": str(SOURCES)},
            pass_fds=kept,
            start_new_session=True,
        )
