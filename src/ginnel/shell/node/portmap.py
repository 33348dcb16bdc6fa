"""Asks the home router for an open port: sockets, timers and HTTP for one `PortMapper`.

Room: shell. Three sockets, all bound to the gateway's interface and marked past our own routes: one connected to the
gateway's port 5351, one for SSDP, one that hears what routers announce to all.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ginnel.core.node.portmap.actions import FetchPortmap, Gateway, PortmapAction, PortMapped, SendPortmap
from ginnel.core.node.portmap.constants import LATE_ANSWER
from ginnel.core.node.portmap.mapper import PortMapper
from ginnel.core.node.portmap.states import Held, Resting
from ginnel.shell.node.dial import SO_MARK
from ginnel.shell.node.portmap_http import fetch
from ginnel.wire import natpmp
from ginnel.words import Endpoint, Instant

log = logging.getLogger(__name__)

AT_ONCE = 32  # datagrams taken in one turn of the loop
DATAGRAM = 4097  # one more than any codec reads
OPEN_AGAIN = 10.0
RELEASE_TIME = 1.0
LOOK_TIME = 12.0

Input = Callable[[PortMapper, Instant], list[PortmapAction]]
Received = Callable[[PortMapper, Endpoint, bytes, Instant], list[PortmapAction]]


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be mapped. Port 0, or no gateway: nothing."""

    gateway: Gateway | None = None
    port: int = 0
    with_upnp: bool = True

    @property
    def any(self) -> bool:
        return self.gateway is not None and self.port != 0


class PortMapping:
    """`tell` hears what the mesh should know, in a turn of the loop of its own. `news`: the last of it."""

    def __init__(
        self,
        mapper: PortMapper,
        *,
        mark: int,
        tell: Callable[[PortMapped], None],
        spawn: Callable[[Coroutine[Any, Any, None]], object],
    ) -> None:
        self.mapper = mapper
        self.news = PortMapped()
        self._mark = mark
        self._tell = tell
        self._spawn = spawn
        self._wish = Wish()
        self._sockets: list[socket.socket] = []
        self._timer: asyncio.TimerHandle | None = None
        self._moved = asyncio.Event()

    # --- what is wanted ----------------------------------------------------------------------------------------

    def follow(self, wish: Wish, *, active: bool) -> None:
        """Map this from now on; cheap while nothing changes."""
        if wish != self._wish:
            before, self._wish = self._wish, wish
            self._leave(before)
            self._enter()
        if active != self.mapper.active:
            self.mapper.active = active
            self._wake_on_time()

    def look(self) -> None:
        """The network may be another one, though it looks the same."""
        self._input(lambda mapper, now: mapper.look(now))

    async def probed(self) -> None:
        """Probe anew; returns when it is known which protocols answer: a quarter of a second."""
        self.look()
        await self._until(lambda: not self._wish.any or self.mapper.services.over)

    async def looked(self) -> None:
        """Probe anew; returns when all that follows is settled, within 15 s. Where nothing was found, late answers get
        their time."""
        self.look()
        await self._until(lambda: self.mapper.settled)
        if isinstance(self.mapper.state, Resting):
            await self._until(lambda: isinstance(self.mapper.state, Held), LATE_ANSWER)

    async def _until(self, reached: Callable[[], bool], limit: float = LOOK_TIME) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                while not reached():
                    self._moved.clear()
                    await self._moved.wait()
                await asyncio.sleep(0)  # two answers in one turn: the news of the second are still to be told

    async def close(self) -> None:
        """Give the mapping back, within a second."""
        actions = self.mapper.stop()
        self._perform([action for action in actions if isinstance(action, SendPortmap)])
        last = [fetch(action, mark=self._mark) for action in actions if isinstance(action, FetchPortmap)]
        self._close_sockets()
        self._wish = Wish()
        with suppress(TimeoutError):
            async with asyncio.timeout(RELEASE_TIME):
                await asyncio.gather(*last)

    def _leave(self, before: Wish) -> None:
        """By HTTP a mapping is given back only to a router that is still ours: another network may have another one
        at the same address."""
        if before.any:
            same = before.gateway == self._wish.gateway
            self._perform([action for action in self.mapper.stop() if same or not isinstance(action, FetchPortmap)])
        self._close_sockets()

    def _enter(self) -> None:
        gateway = self._wish.gateway
        if gateway is None or not self._wish.port:
            return
        try:
            self._open(gateway)
        except OSError as error:
            log.warning("no port mapping: cannot open a socket on %s: %s", gateway.interface, error.strerror or error)
            self.mapper.problem = f"cannot open a socket on {gateway.interface}: {error.strerror or error}"
            self._close_sockets()
            self._timer = asyncio.get_running_loop().call_later(OPEN_AGAIN, self._enter)
            return
        self.mapper.with_upnp = self._wish.with_upnp
        self._input(lambda mapper, now: mapper.start(gateway, self._wish.port, now))

    # --- sockets -----------------------------------------------------------------------------------------------

    def _open(self, gateway: Gateway) -> None:
        ask, search = self._bound(gateway, str(gateway.own), 0), self._bound(gateway, str(gateway.own), 0)
        ask.connect((str(gateway.address), natpmp.PORT))
        search.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, gateway.own.packed)
        search.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 2)
        self._hear(ask, PortMapper.received)
        self._hear(search, PortMapper.found)
        with suppress(OSError):  # somebody has the port for itself: then restarts are noticed a little later
            self._hear(self._bound(gateway, "", natpmp.ANNOUNCE_PORT), PortMapper.announced)

    def _bound(self, gateway: Gateway, address: str, port: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        self._sockets.append(made)
        with suppress(PermissionError):  # without root there are no routes of ours to step around
            made.setsockopt(socket.SOL_SOCKET, SO_MARK, self._mark)
        with suppress(PermissionError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, gateway.interface.encode() + b"\0")
        if port:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((address, port))
        return made

    def _hear(self, heard: socket.socket, received: Received) -> None:
        asyncio.get_running_loop().add_reader(heard, self._read, heard, received)

    def _close_sockets(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        for opened in self._sockets:
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()
        self._sockets = []

    def _read(self, heard: socket.socket, received: Received) -> None:
        for _ in range(AT_ONCE):
            if heard.fileno() < 0:
                return  # what came before had everything closed
            try:
                packet, (ip, port) = heard.recvfrom(DATAGRAM)
            except BlockingIOError:
                return
            except OSError as error:  # the router has nothing on that port
                log.debug("the router: %s", error)
                continue
            self._take(received, Endpoint.parse(f"{ip}:{port}"), packet)

    def _take(self, received: Received, source: Endpoint, packet: bytes) -> None:
        self._input(lambda mapper, now: received(mapper, source, packet, now))

    # --- the machine -------------------------------------------------------------------------------------------

    def _input(self, call: Input) -> None:
        self._perform(call(self.mapper, Instant(asyncio.get_running_loop().time())))
        self._wake_on_time()
        self._moved.set()

    def _wake_on_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.mapper.next_timeout()
        if at is not None and self._sockets:
            self._timer = asyncio.get_running_loop().call_at(at, self._input, PortMapper.tick)

    def _perform(self, actions: list[PortmapAction]) -> None:
        for action in actions:
            match action:
                case SendPortmap(to, packet):
                    self._send(to, packet)
                case FetchPortmap():
                    self._spawn(self._fetch(action))
                case PortMapped():
                    self._note(action)

    def _send(self, to: Endpoint, packet: bytes) -> None:
        if not self._sockets:
            return
        ask, search, *_ = self._sockets
        try:
            if to.port == natpmp.PORT:
                ask.send(packet)
            else:
                search.sendto(packet, (str(to.ip), to.port))
        except OSError as error:
            log.debug("to the router at %s: %s", to, error)

    async def _fetch(self, action: FetchPortmap) -> None:
        status, body = await fetch(action, mark=self._mark)
        self._input(lambda mapper, now: mapper.fetched(action.number, status, body, now))

    def _note(self, news: PortMapped) -> None:
        if news.external != self.news.external:
            log.info("the router forwards %s to us", news.external or "nothing any more")
        self.news = news
        asyncio.get_running_loop().call_soon(self._tell, news)
