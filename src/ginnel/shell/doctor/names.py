"""The system's resolver, asked with patience that ends: getaddrinfo cannot be cancelled, so its thread is left behind.

Room: shell.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from dataclasses import dataclass, field
from ipaddress import ip_address

LOOK_UP_TIME = 3.0
NO_SUCH_NAME = (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME))


@dataclass(frozen=True, slots=True)
class LookedUp:
    """IPv4 first. `problem`: "" or why there is nothing."""

    addresses: list[str] = field(default_factory=list)
    problem: str = ""


async def look_up(name: str) -> LookedUp:
    if is_address(name):
        return LookedUp([name])
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[LookedUp] = loop.create_future()

    def settle(found: LookedUp) -> None:
        if not answer.done():
            answer.set_result(found)

    def work() -> None:
        found = _look_up(name)
        try:
            loop.call_soon_threadsafe(settle, found)
        except RuntimeError:  # the loop has ended meanwhile
            return

    threading.Thread(target=work, daemon=True).start()
    try:
        async with asyncio.timeout(LOOK_UP_TIME):
            return await answer
    except TimeoutError:
        return LookedUp(problem="the resolver does not answer")


def _look_up(name: str) -> LookedUp:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in NO_SUCH_NAME:
            return LookedUp(problem="the resolver says that there is no such name")
        return LookedUp(problem="the resolver does not answer")
    except UnicodeError:
        return LookedUp(problem="no name can be written so")
    addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
    return LookedUp(sorted(addresses, key=lambda text: ":" in text))


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
