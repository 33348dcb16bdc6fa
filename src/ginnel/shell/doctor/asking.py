"""Asking the daemon in time: a visit has an end, and no answer is waited for beyond it.

Room: shell. Questions block, so each has a daemon thread: nobody waits for one that hangs, the program's end neither.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ginnel.shell.daemon_threads import DaemonThreads

AT_ONCE = 16
STARTING_MOST = 4.0
T = TypeVar("T")

Ask = Callable[[str, str, float], Any]
"""Method, name and seconds to wait: the answer's JSON. Raises Unanswered and Refused. Blocks."""


class Unanswered(Exception):
    """The daemon is not there, went away, or was too slow; one line for people."""


class Refused(Exception):
    """The daemon's own words."""


class Daemon:
    """`ask` until `ends`, an instant of time.monotonic."""

    def __init__(self, ask: Ask, ends: float) -> None:
        self._ask = ask
        self._ends = ends
        self._threads = DaemonThreads(AT_ONCE)

    def left(self) -> float:
        """Seconds, 0 at the end."""
        return max(0.0, self._ends - time.monotonic())

    def get(self, name: str, most: float = 30.0) -> Any:
        """Blocks. Raises Unanswered, Refused."""
        return self.ask("GET", name, most)

    def ask(self, method: str, name: str, most: float) -> Any:
        """Blocks. Raises Unanswered, Refused."""
        seconds = min(most, self.left())
        if seconds <= 0:
            raise Unanswered("there was no time left to ask the daemon")
        return self._ask(method, name, seconds)

    async def thread(self, what: str, work: Callable[[], T]) -> T:
        await self._threads.room()
        return await self._threads.run(what, work)


def running_for() -> float:
    """Seconds since this process began (linux: proc_pid_stat(5)): whoever waits counts the interpreter's start too."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        began = int(fields[19]) / os.sysconf("SC_CLK_TCK")
        up = float(Path("/proc/uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return 0.0
    return min(max(up - began, 0.0), STARTING_MOST)


async def wait_until(task: asyncio.Future[Any], seconds: float) -> bool:
    """Whether it ended in that time; it is cancelled otherwise."""
    await asyncio.wait({task}, timeout=max(0.0, seconds))
    if not task.done():
        task.cancel()
        return False
    return True
