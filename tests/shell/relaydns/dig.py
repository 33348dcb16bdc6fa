"""Asking as people do: dig, in a process of its own; and waiting for what others do."""

import asyncio
from collections.abc import Awaitable, Callable

from tests.core.relaydns.relay_names import ZONE

PATIENCE = 20.0


async def met(condition: Callable[[], object]) -> None:
    """The time is a bound for failures only."""
    async with asyncio.timeout(PATIENCE):
        while not condition():  # noqa: ASYNC110  (it is made true by other programs, or by the kernel)
            await asyncio.sleep(0)


async def until(condition: Callable[[], Awaitable[object]]) -> None:
    """The same for what has to be asked anew each time."""
    async with asyncio.timeout(PATIENCE):
        while not await condition():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def dig(port: int, label: str, rtype: str, *options: str, at: str = "127.0.0.1") -> list[str]:
    """The lines of `dig +short`."""
    words = ["dig", "+short", "+tries=1", "+time=10", "-p", str(port), f"@{at}", f"{label}.{ZONE}".lstrip("."), rtype]
    process = await asyncio.create_subprocess_exec(*words, *options, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    assert process.returncode == 0, output
    return output.decode().split("\n")[:-1]
