"""Word of each sleep of this machine, at the moment it wakes: a timer of the kernel's clock that goes on in sleep.

Room: shell. The loop's clock stands still meanwhile, and its timers with it: one of them would notice up to its whole
length late.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import time
from collections.abc import AsyncIterator

LOOK_FOR_SLEEP = 15.0
SLEPT = 30.0  # that long a sleep leaves no NAT mapping and no connection to rely on
SECONDS = struct.Struct("@llll")  # struct itimerspec: interval and first expiry, in seconds and nanoseconds


async def sleeps() -> AsyncIterator[float]:
    """Yield the seconds of each sleep."""
    before = asleep()
    async for _ in ticks():
        now = asleep()
        if now - before > SLEPT:
            yield now - before
        before = now


async def ticks() -> AsyncIterator[None]:
    """Every LOOK_FOR_SLEEP seconds, sleep counted; by the loop's clock where the kernel has no such timer."""
    try:
        timer = boot_timer(LOOK_FOR_SLEEP)
    except OSError:
        while True:
            await asyncio.sleep(LOOK_FOR_SLEEP)
            yield
    loop = asyncio.get_running_loop()
    ticked = asyncio.Event()

    def tick() -> None:
        os.read(timer, 8)
        ticked.set()

    loop.add_reader(timer, tick)
    try:
        while True:
            await ticked.wait()
            ticked.clear()
            yield
    finally:
        loop.remove_reader(timer)
        os.close(timer)


def boot_timer(every: float) -> int:
    """A descriptor that is readable every so many seconds of CLOCK_BOOTTIME (timerfd_create(2)). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    timer: int = libc.timerfd_create(time.CLOCK_BOOTTIME, os.O_NONBLOCK | os.O_CLOEXEC)
    if timer < 0:
        raise OSError(ctypes.get_errno(), "timerfd_create")
    whole, part = int(every), int(every % 1 * 1e9)
    if libc.timerfd_settime(timer, 0, SECONDS.pack(whole, part, whole, part), None) < 0:
        os.close(timer)
        raise OSError(ctypes.get_errno(), "timerfd_settime")
    return timer


def asleep() -> float:
    """Seconds that this machine has slept since it started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
