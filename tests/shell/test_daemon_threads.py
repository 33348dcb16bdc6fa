"""Work in daemon threads: what it gives, what it raises, and that those which hang are bounded."""

from __future__ import annotations

import asyncio
import threading

import pytest

from ginnel.shell.daemon_threads import DaemonThreads


async def test_what_the_work_gives_or_raises_comes_back() -> None:
    def fails() -> int:
        raise OSError("no such name")

    threads = DaemonThreads(2)
    await threads.room()
    assert await threads.run("one", lambda: 7) == 7
    await threads.room()
    with pytest.raises(OSError, match="no such name"):
        await threads.run("two", fails)


async def test_one_that_hangs_keeps_its_room_though_nobody_waits_any_more() -> None:
    threads, ends = DaemonThreads(1), threading.Event()
    await threads.room()
    threads.run("hangs", ends.wait).cancel()
    waiting = asyncio.create_task(threads.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    ends.set()
    async with asyncio.timeout(10):
        await waiting
