"""Changes one at a time: each is decided, committed and applied before the next one is decided.

Room: shell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Turns:
    def __init__(self) -> None:
        self._taken = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def take(self, work: Coroutine[Any, Any, T]) -> T:
        """Run it with nothing else changing, and to its end even if the caller leaves: what is committed is applied."""
        task = asyncio.create_task(self._locked(work))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        task.add_done_callback(lambda _: work.close())  # not begun when the server ends: nobody misses it
        return await asyncio.shield(task)

    async def _locked(self, work: Coroutine[Any, Any, T]) -> T:
        async with self._taken:
            return await work

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # whoever still waits is told; nobody else need be

    def taken(self) -> bool:
        return self._taken.locked()

    async def drain(self) -> None:
        """Until nobody is left who took or waits for a turn."""
        while self._tasks:
            await asyncio.wait(self._tasks)
