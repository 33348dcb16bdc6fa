"""Programs that run on a lab's hosts: started by argument lists, ended by pid, read through files.

Room: lab. `setpriv --pdeathsig` stands before each, so that a lab whose owner is killed leaves no program behind.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from ginnel.lab import LabError
from ginnel.lab.namespace import Inside

T = TypeVar("T")
LOOK_AGAIN = 0.01
STOP_LIMIT = 5.0
TAIL = 300
DIES_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--")


@dataclass(slots=True)
class Process:
    """A program on a host. `out` and `err` are files on the machine."""

    name: str
    popen: subprocess.Popen[bytes]
    out: Path
    err: Path
    began: int = 0  # where its own output begins in `out`, which earlier runs of the same name share

    def ended(self) -> int | None:
        return self.popen.poll()

    def said(self) -> str:
        return self.out.read_text(errors="replace") + self.err.read_text(errors="replace")

    def said_now(self) -> str:
        """Its standard output alone, since it was started."""
        return self.out.read_bytes()[self.began :].decode(errors="replace")

    def wait_for_line(self, pattern: str, limit: float) -> re.Match[str]:
        """The first match in what it says; LabError when it ends or `limit` seconds pass before."""
        return until(lambda: self.found(pattern), limit, f"{self.name} to say {pattern!r}", self)

    def found(self, pattern: str) -> re.Match[str] | None:
        return re.search(pattern, self.said(), re.MULTILINE)

    def wait(self, limit: float) -> int:
        try:
            return self.popen.wait(limit)
        except subprocess.TimeoutExpired:
            raise LabError(f"{self.name} still ran after {limit:g} s: {self.last_words()}") from None

    def stop(self) -> None:
        """Ask it to end; kill it when it does not."""
        if self.popen.poll() is None:
            self.popen.send_signal(signal.SIGTERM)
            try:
                self.popen.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()

    def last_words(self) -> str:
        lines = [line.strip() for line in self.said().splitlines() if any(map(str.isalnum, line))]
        return lines[-1][-TAIL:] if lines else "it said nothing"


def start(
    space: Inside,
    logs: Path,
    name: str,
    argv: list[str],
    env: dict[str, str],
    *,
    cwd: Path = Path("/run/lab/home"),
    outlives_us: bool = False,
) -> Process:
    """cwd: as seen from inside; the default is a host's, which routers have not."""
    out, err = logs / f"{name}.out", logs / f"{name}.err"
    surroundings = {**os.environ, "HOME": "/run/lab/home", "PYTHONUNBUFFERED": "1", **env}
    with out.open("ab") as stdout, err.open("ab") as stderr:
        began = stdout.tell()
        popen = space.call(
            lambda: subprocess.Popen(
                [*(() if outlives_us else DIES_WITH_US), *argv],
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                env=surroundings,
                cwd=cwd,
                start_new_session=True,
            )
        )
    return Process(name, popen, out, err, began)


def until(condition: Callable[[], T | None], limit: float, what: str, *needs: Process) -> T:
    """Look until the condition gives something; LabError after `limit` seconds, or when a needed program ends."""
    deadline = time.monotonic() + limit
    while True:
        if (found := condition()) is not None:
            return found
        for process in needs:
            if process.ended() is not None:
                raise LabError(f"{process.name} ended with status {process.ended()}: {process.last_words()}")
        if time.monotonic() > deadline:
            words = f" ({needs[0].last_words()})" if needs else ""
            raise LabError(f"waited {limit:g} s for {what}{words}")
        time.sleep(LOOK_AGAIN)
