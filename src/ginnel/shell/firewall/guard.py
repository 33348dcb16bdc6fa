"""The guard of `firewall open`: a process of its own that takes the rules back when the mesh is lost by them.

Room: shell. A process of its own and neither the command nor the daemon: it must outlive the command being killed
(Ctrl-C, the end of an SSH session) and the daemon being restarted. It lives before the first change is made. On its
standard input the command says "done" after the last; where that ends without a word, the command has died between two
changes, and what its record names is taken back. After that it watches for WATCH seconds: whether the daemon has its
map stream, and whether the server takes a new connection. What held before and is lost for LOST seconds on end is taken
for the rules' fault. A stream whose packets are dropped looks well for a minute or two; the new connection tells.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import msgspec

import ginnel
from ginnel.core.node.routing import MARK
from ginnel.shell.firewall import undo_record
from ginnel.shell.firewall.changing import take_back
from ginnel.shell.firewall.tools import ToolError

SOURCE = Path(ginnel.__file__).absolute().parent.parent
WATCH = 60.0
LOST = 6.0
EVERY = 1.0
START_LIMIT = 15.0
READY, DONE = b"ready\n", b"done\n"
INSIDE = b"GET /localapi/v0/debug-inside HTTP/1.1\r\nHost: local-ginneld.sock\r\nContent-Length: 0\r\n\r\n"
MAX_ANSWER = 1 << 20
CONNECT_LIMIT = 2.0


class Way(Enum):
    """By which this machine has word of its coordination server."""

    STREAM = "stream"
    NEW_CONNECTION = "new connection"


class Guard:
    """The command's end."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @classmethod
    def start(cls, record: Path, daemon: str) -> Self:
        """Returns when it watches. Raises OSError."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "ginnel.shell.firewall.guard", str(record.absolute()), daemon],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True, cwd="/",
            env={**os.environ, "PYTHONPATH": str(SOURCE)},
        )  # fmt: skip
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_LIMIT)
        if not ready or process.stdout.readline() != READY:
            process.kill()
            process.wait()
            raise OSError("it does not start")
        return cls(process)

    def done(self) -> None:
        """All changes are made; from here on it goes by itself."""
        assert self._process.stdin is not None
        self._process.stdin.write(DONE)
        self._process.stdin.flush()

    def give_up(self) -> bool:
        """Take back what was made, and wait until it is. False: not all of it could be."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait() == 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.returncode = 0  # it goes on without us; init reaps it


def main() -> None:
    record, lookout = Path(sys.argv[1]), Lookout(sys.argv[2])
    before = lookout.ways()  # while nothing is changed yet
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    try:
        watch(record, Watch(before, lookout.ways, sys.stdin.buffer.readline, time.monotonic, time.sleep))
    except (ToolError, undo_record.RecordError):
        sys.exit(1)  # the record stays, for `close`


@dataclass(frozen=True, slots=True)
class Watch:
    """before: the ways that stood when nothing was changed. word: the command's next line, b"" where it has ended."""

    before: frozenset[Way]
    ways: Callable[[], frozenset[Way]]
    word: Callable[[], bytes]
    clock: Callable[[], float]
    wait: Callable[[float], None]


def watch(record: Path, by: Watch) -> str:
    """Why the rules were taken back, "" they stay."""
    if by.word() != DONE:
        return roll_back(record, "", keep=False)
    if not by.before:
        return ""  # nothing that could be lost
    started = seen = by.clock()
    while by.clock() - started < WATCH:
        by.wait(EVERY)
        if not record.exists():
            return ""  # closed meanwhile
        if by.before <= by.ways():
            seen = by.clock()
        elif by.clock() - seen >= LOST:
            return roll_back(record, "the connection to the coordination server was lost after the change", keep=True)
    return ""


def roll_back(path: Path, why: str, *, keep: bool) -> str:
    """keep: leave the record, with the reason, for the user's next command."""
    with undo_record.held(path) as record:
        if record is None or record.rolled_back:
            return ""
        take_back(record.changes)
        if keep:
            undo_record.replace(path, msgspec.structs.replace(record, changes=(), rolled_back=why))
        else:
            path.unlink()
    return why or "the command ended before all changes were made"


class Lookout:
    """What can be seen of the coordination server from here, by what the daemon says and by trying."""

    def __init__(self, daemon: str) -> None:
        self._daemon = daemon
        self._place: tuple[str, int] | None = None

    def ways(self) -> frozenset[Way]:
        """Those that stand now. A daemon that is gone or starts anew is no fault of rules: its word is not missed."""
        control = self._asked()
        if control is None:
            stream = self._place is not None
        else:
            stream = control.get("Connected") is True
            self._place = _place(control) or self._place
        tried = {Way.NEW_CONNECTION} if self._place is not None and connects(self._place) else set()
        return frozenset(tried | ({Way.STREAM} if stream else set()))

    def _asked(self) -> dict[str, Any] | None:
        with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(5)
            asking.connect(self._daemon)
            asking.sendall(INSIDE)
            told = json.loads(_body(asking))
            if isinstance(told, dict) and isinstance(told.get("Control"), dict):
                return cast("dict[str, Any]", told["Control"])
        return None


def _place(control: dict[str, Any]) -> tuple[str, int] | None:
    address, port = control.get("Address"), control.get("Port")
    return (address, port) if isinstance(address, str) and address and isinstance(port, int) else None


def connects(place: tuple[str, int]) -> bool:
    """As the daemon does it: not into its own tunnel."""
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_STREAM) as trying:
        trying.settimeout(CONNECT_LIMIT)
        with contextlib.suppress(OSError):
            trying.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, MARK)
        trying.connect(place)
        return True
    return False


def _body(asking: socket.socket) -> bytes:
    """The daemon closes the connection behind its answer."""
    got = b""
    while len(got) < MAX_ANSWER and (part := asking.recv(65536)):
        got += part
    return got.partition(b"\r\n\r\n")[2]


if __name__ == "__main__":
    os.umask(0o077)
    main()
