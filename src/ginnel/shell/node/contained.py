"""A fault of ours in one piece of work costs that piece: what a server or a local user sends must not end the daemon.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger(__name__)

FAULT = "something went wrong here: see the daemon's log"


def start(tasks: asyncio.TaskGroup, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Do the work in a task of the group; an exception that nobody expected is logged with where it came from."""
    task = tasks.create_task(_contained(work))
    task.add_done_callback(lambda _: work.close())  # one that is cancelled before it began has not begun `work`
    return task


async def _contained(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except Exception:
        log.exception("a fault in %s", getattr(work, "__qualname__", "a task"))
