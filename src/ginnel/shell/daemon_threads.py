"""Work that blocks and cannot be called off, in daemon threads: nobody has to wait for them, a program's end neither.

Room: shell.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class DaemonThreads:
    """At most `at_once` of them: `room` is awaited first, and is given back when the thread ends, so that hanging ones
    are bounded too."""

    def __init__(self, at_once: int) -> None:
        self._room = asyncio.Semaphore(at_once)

    async def room(self) -> None:
        await self._room.acquire()

    def run(self, name: str, work: Callable[[], T]) -> asyncio.Future[T]:
        """What `work` gives or raises. One who waits no longer misses it, and nothing else."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def ended(settle: Callable[[], None]) -> None:
            self._room.release()
            if not future.done():
                settle()

        def thread() -> None:
            settle: Callable[[], None]
            try:
                found = work()
            except Exception as error:  # noqa: BLE001  (handed to who waits)
                failed = error
                settle = lambda: future.set_exception(failed)  # noqa: E731
            else:
                settle = lambda: future.set_result(found)  # noqa: E731
            try:
                loop.call_soon_threadsafe(ended, settle)
            except RuntimeError:
                return  # the loop has ended meanwhile

        threading.Thread(target=thread, daemon=True, name=name).start()
        return future
