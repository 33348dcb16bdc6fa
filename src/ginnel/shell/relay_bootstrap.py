"""Keeps what a relay answers under `/bootstrap-dns`: asks DNS again and again, and tells the relay.

Room: shell. Which answers count is decided in core/relaydns/hosts.py (a failed one leaves what was known), which go out
in core/relay/bootstrap.py.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress

from ginnel.core.relay.bootstrap import BootstrapNames
from ginnel.core.relaydns.hosts import V4, V6, Hosts
from ginnel.shell.relaydns.resolve import Resolver
from ginnel.wire.bootstrapdns import encode_names
from ginnel.words import Instant

Serve = Callable[[str, Mapping[str, str]], None]
"""Called with the JSON of all published names, and that of each unpublished one."""

LookUp = Callable[[str], Awaitable[tuple[V4, V6]]]


class BootstrapDns:
    def __init__(self, serve: Serve, names: BootstrapNames, look_up: LookUp | None = None) -> None:
        self._serve = serve
        self._names = names
        self._look_up = look_up or Resolver().look_up
        self._hosts = Hosts()
        self._moved = asyncio.Event()

    def publish(self, names: Iterable[str]) -> None:
        """These names too, from now on."""
        self._names = self._names.with_published(names)
        self._moved.set()

    async def run(self) -> None:
        """Until cancelled."""
        self._tell()
        while True:
            self._moved.clear()
            self._hosts.wanted(self._names.every, _now())
            await self._ask(self._hosts.due(_now()))
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._hosts.next_timeout()):
                    await self._moved.wait()

    async def _ask(self, due: list[str]) -> None:
        for name, (v4, v6) in zip(due, await asyncio.gather(*map(self._look_up, due)), strict=True):
            self._hosts.found(name, v4, v6, _now())
        self._tell()

    def _tell(self) -> None:
        published, unpublished = self._names.answers(self._hosts.known(), random.shuffle)
        self._serve(encode_names(published), {name: encode_names({name: ips}) for name, ips in unpublished.items()})


def _now() -> Instant:
    return Instant(asyncio.get_running_loop().time())
