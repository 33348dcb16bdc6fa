"""Addresses of a host name by the system's resolver, with what went wrong.

Room: shell. getaddrinfo can hang for half a minute where DNS is down: it runs in daemon threads, for which nobody has
to wait, and at most AT_ONCE of them.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address

from ginnel.core.firewall.evidence import Ending, Evidence, Step
from ginnel.shell.daemon_threads import DaemonThreads
from ginnel.words import IpAddress

AT_ONCE = 64
PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class NameSeen:
    """addresses: both families', as the system sorts them."""

    evidence: Evidence
    addresses: tuple[IpAddress, ...] = ()


class NameLooker:
    def __init__(self, patience: float = PATIENCE) -> None:
        self._threads = DaemonThreads(AT_ONCE)
        self._patience = patience

    async def look(self, host: str) -> NameSeen:
        """Waits for room as long as that takes, then for the answer."""
        loop = asyncio.get_running_loop()
        await self._threads.room()
        began = loop.time()
        try:
            async with asyncio.timeout(self._patience):
                found = await self._threads.run(f"resolve {host[:60]}", partial(_system, host))
        except TimeoutError:
            return NameSeen(Evidence(Step.NAME, Ending.SILENCE, loop.time() - began))
        except (OSError, UnicodeError) as error:
            words = error.strerror if isinstance(error, OSError) else "no such name"
            return NameSeen(Evidence(Step.NAME, Ending.NO_NAME, loop.time() - began, (words or "").lower()))
        return NameSeen(Evidence(Step.NAME, Ending.DONE, loop.time() - began, answered=found), found)


def _system(host: str) -> tuple[IpAddress, ...]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(ip_address(str(where[4][0]).partition("%")[0]) for where in found))
