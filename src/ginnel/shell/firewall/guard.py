"""The guard of `firewall open`: a process of its own that takes the rules back when the mesh is lost by them.

Room: shell. A process of its own and neither the command nor the daemon: it must outlive the command being killed
(Ctrl-C, the end of an SSH session) and the daemon being restarted. It lives before the first change is made. On its
standard input the command says "done" after the last; where that ends without a word, the command has died between two
changes, and what its record names is taken back. After that it watches the daemon for WATCH seconds: a connection to
control that stood before and is lost for LOST seconds on end is taken for the rules' fault.
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
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

import ginnel
from ginnel.shell.firewall import undo_record
from ginnel.shell.firewall.changing import take_back

SOURCE = Path(ginnel.__file__).absolute().parent.parent
WATCH = 60.0
LOST = 6.0
EVERY = 1.0
START_LIMIT = 15.0
READY, DONE = b"ready\n", b"done\n"
STATUS = b"GET /localapi/v0/status?peers=false HTTP/1.1\r\nHost: local-ginneld.sock\r\nContent-Length: 0\r\n\r\n"
MAX_ANSWER = 1 << 20


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

    def give_up(self) -> None:
        """Take back what was made, and wait until it is."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.returncode = 0  # it goes on without us; init reaps it


def main() -> None:
    record, daemon = Path(sys.argv[1]), sys.argv[2]
    sys.stdout.buffer.write(READY)
    sys.stdout.flush()
    watch(record, lambda: connected(daemon), sys.stdin.buffer.readline, time.monotonic, time.sleep)


def watch(
    record: Path,
    healthy: Callable[[], bool],
    word: Callable[[], bytes],
    clock: Callable[[], float],
    wait: Callable[[float], None],
) -> str:
    """Why the rules were taken back, "" they stay."""
    before = healthy()
    if word() != DONE:
        return roll_back(record, "", keep=False)
    if not before:
        return ""  # nothing that could be lost
    started = seen = clock()
    while clock() - started < WATCH:
        wait(EVERY)
        if not record.exists():
            return ""  # closed meanwhile
        if healthy():
            seen = clock()
        elif clock() - seen >= LOST:
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


def connected(daemon: str) -> bool:
    """Whether the daemon runs and says nothing of a lost coordination server."""
    with contextlib.suppress(OSError, ValueError), socket.socket(socket.AF_UNIX) as asking:
        asking.settimeout(5)
        asking.connect(daemon)
        asking.sendall(STATUS)
        status = json.loads(_body(asking))
        lost = any(str(line).startswith("no connection to ") for line in status.get("Health") or [])
        return status.get("BackendState") == "Running" and not lost
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
