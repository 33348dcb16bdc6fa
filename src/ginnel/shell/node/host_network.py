"""This machine's side of the node: the routes that the map asks for, and word when links move or a sleep ends.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

from ginnel.core.node.routing import Routing
from ginnel.shell.node.links import Links, changes, read_links
from ginnel.shell.node.router import Router

log = logging.getLogger(__name__)

ROUTES_AGAIN = 10.0  # seconds until what the kernel refused is tried again


class HostNetwork:
    """`links`: as last read. `routed`: what stands, as far as the kernel took it. `changed`: states may differ."""

    def __init__(self, tun: str, router: Router, changed: Callable[[], None]) -> None:
        self.links = Links()
        self.routed = Routing()
        self._tun = tun
        self._router = router
        self._changed = changed
        self._wanted: Routing | None = None
        self._again: asyncio.TimerHandle | None = None

    @property
    def problems(self) -> list[str]:
        return self._router.problems

    def read(self) -> bool:
        """Look at the links; whether they differ from before."""
        try:
            links = read_links(self._tun)
        except OSError as error:
            log.error("cannot read this machine's addresses: %s", error)
            return False
        before, self.links = self.links, links
        return links != before

    def route(self, wanted: Routing | None) -> None:
        """Bring the kernel to this; it is so when this returns. `Routing()`: nothing of ours stands. None: there is no
        map, so what stands stays: after a crash, or between two keys, that keeps packets for the mesh from going out
        in the clear."""
        self._wanted = wanted
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if wanted is None:
            return
        told = self._router.problems
        if wanted == Routing():
            self._router.clear()
        else:
            self._router.apply(wanted)
        self.routed = wanted
        if self.problems:
            if self.problems != told:
                log.error("%s", "; ".join(self.problems))
            self._again = asyncio.get_running_loop().call_later(ROUTES_AGAIN, self.route, wanted)
        self._changed()

    async def moves(self) -> AsyncIterator[bool]:
        """Yield when links moved, True for a major move; routes that somebody touched are set anew by themselves."""
        async for stir in changes(self._tun, self._router.port):
            if stir.routes:
                self._router.moved()
                self.route(self._wanted)
            before = self.links
            if stir.links and self.read():
                major = self.links.major(before)
                log.info("the network changed (%s)", "major" if major else "minor")
                yield major

    def close(self) -> None:
        if self._again is not None:
            self._again.cancel()
        self._router.clear()
        self._router.close()
