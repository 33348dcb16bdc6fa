"""Drives a ControlSession: performs its actions on sockets, tells it what came of them, wakes it on time.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from typing import Any

from ginnel.core.node.c2n import pair_answer
from ginnel.core.node.control_actions import (
    CloseMap,
    ControlAction,
    Merge,
    OpenMap,
    Probe,
    Reply,
    Report,
    SendLite,
    Testify,
)
from ginnel.core.node.control_session import ControlSession
from ginnel.core.node.login import CAPABILITY_VERSION, Accepted, SendRegister
from ginnel.core.node.told_time import ToldTime
from ginnel.shell.node.contained import FAULT, start
from ginnel.shell.node.control_connection import ControlConnection, ControlError, MapStream, http_error
from ginnel.shell.node.control_dial import open_connection
from ginnel.shell.node.dial import unverified
from ginnel.shell.node.web import WebError, fetch
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import MapResponse, RegisterResponse, ServerKeys, decode, encode, wall_time
from ginnel.words import Instant, MachineKey, MachinePrivate, NodeKey, WallTime

log = logging.getLogger(__name__)

KEY_TIME = 10.0
REGISTER_TIME = 60.0
LITE_TIME = 30.0
PROBE_TIME = 15.0


class WrongServer(Exception):
    """The server's key is not the invite's. One line for people."""


class ControlClient:
    """One server, from `run` until it is cancelled. `tell` is called with every action that is not this class's own:
    Merge, Visit, KeepKey, KeyExpired; `changed` after every input, when states may differ."""

    def __init__(
        self,
        session: ControlSession,
        *,
        url: str,
        machine: MachinePrivate,
        pinned: MachineKey | None,
        mark: int,
        tell: Callable[[ControlAction], None],
        changed: Callable[[], None],
    ) -> None:
        self.session = session
        self._url = url
        self._machine = machine
        self._pinned = pinned
        self._mark = mark
        self._tell = tell
        self._changed = changed
        self._server_key: MachineKey | None = None
        self._connection: ControlConnection | None = None
        self._dialing = asyncio.Lock()
        self._streaming: asyncio.Task[None] | None = None
        self._tasks: asyncio.TaskGroup | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._registering: asyncio.Task[None] | None = None
        self.last_address = ""
        """Where the server answered last."""
        self._told_time = ToldTime()
        self.testify: Callable[[NodeKey, tuple[int, ...]], Awaitable[bytes | None]] = _nothing_to_say

    # --- running -----------------------------------------------------------------------------------------------

    async def run(self, begin: Callable[[ControlSession], list[ControlAction]]) -> None:
        """Perform what `begin` returns, and what follows from it, until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self.input(begin)
                await asyncio.Event().wait()
        finally:
            self.stop()

    def stop(self) -> None:
        """From now on nothing is told and nothing taken, though `run` has yet to be cancelled."""
        self._tasks = None
        if self._timer is not None:
            self._timer.cancel()
        if self._connection is not None:
            self._connection.close()

    def input(self, call: Callable[[ControlSession], list[ControlAction]]) -> None:
        """Give the session an input and do what it asks."""
        if self._tasks is None:
            return
        for action in call(self.session):
            self._perform(action)
        self._wake_on_time()
        self._changed()

    def report(self, report: Report) -> None:
        self.input(lambda session: session.update(report))

    def link_changed(self, own: Collection[str]) -> None:
        """The way out may have moved. own: this machine's addresses. A connection from one that is gone is dead; about
        another one we find out now."""
        connection = self._connection
        if connection is None or connection.closed:
            return
        if connection.local_address not in own:
            connection.close("this machine's address is another one now")
        else:
            self._spawn(self._check(connection))

    async def leave(self, call: Callable[[ControlSession], list[ControlAction]]) -> None:
        """An input whose register request must be answered before this returns (log-out)."""
        self.input(call)
        if self._registering is not None:
            await asyncio.wait({self._registering})

    async def _check(self, connection: ControlConnection) -> None:
        await connection.alive()

    def _wake_on_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self.session.next_timeout()
        loop = asyncio.get_running_loop()
        self._timer = None if at is None else loop.call_at(at, self.input, lambda s: s.tick(self._now()))

    def _now(self) -> Instant:
        return Instant(asyncio.get_running_loop().time())

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        if self._tasks is None:
            work.close()
            return None
        return start(self._tasks, work)

    # --- actions -----------------------------------------------------------------------------------------------

    def _perform(self, action: ControlAction) -> None:
        match action:
            case SendRegister():
                if self._registering is not None:
                    self._registering.cancel()
                self._registering = self._spawn(self._register(action))
            case OpenMap():
                self._streaming = self._spawn(self._stream(action))
            case SendLite():
                self._spawn(self._lite(action))
            case CloseMap(dead):
                self._close_map(dead=dead)
            case Probe():
                self._spawn(self._probe(action))
            case Reply():
                self._spawn(self._reply(action))
            case Testify(path, asker):
                self._spawn(self._testify(path, asker))
            case _:
                self._tell(action)

    async def _register(self, action: SendRegister) -> None:
        try:
            async with asyncio.timeout(None if action.request.followup else REGISTER_TIME):
                status, body = await self._post("/machine/register", encode(action.request))
            if status != 200:
                raise ControlError(http_error(status, body))
            response = decode(RegisterResponse, body)
        except WrongServer as error:
            why = str(error)
            self.input(lambda session: session.refuse(why))
        except (ControlError, WireError, TimeoutError) as error:
            why = str(error) or "the server does not answer the login"
            log.info("login: %s", why)
            self.input(lambda session: session.register_failed(why, self._now()))
        except Exception:
            self.input(lambda session: session.register_failed(FAULT, self._now()))
            raise
        else:
            self.input(lambda session: session.registered(response, self._now()))

    async def _stream(self, action: OpenMap) -> None:
        stream: MapStream | None = None
        try:
            connection = await self._connected()
            stream = connection.stream("/machine/map", encode(action.request), self._map_message)
            why = await stream.done
        except WrongServer as error:
            refusal = str(error)
            self.input(lambda session: session.refuse(refusal))
            return
        except ControlError as error:
            why = str(error)
        except Exception:
            self.input(lambda session: session.map_ended(FAULT, self._now()))
            raise
        finally:
            if stream is not None:
                stream.abandon()
        self._streaming = None
        log.info("map stream: %s", why)
        self.input(lambda session: session.map_ended(why, self._now()))

    def _map_message(self, message: bytes) -> None:
        frame = decode(MapResponse, message)
        self._told_time.told(wall_time(frame.control_time), running())
        self.input(lambda session: session.map_frame(frame, self._now(), WallTime(time.time())))

    def clock_ahead(self) -> float | None:
        """Seconds by which this machine's clock is before the server's, by the last map that told."""
        return self._told_time.ahead(WallTime(time.time()), running())

    async def _lite(self, action: SendLite) -> None:
        try:
            async with asyncio.timeout(LITE_TIME):
                status, body = await self._post("/machine/map", encode(action.request))
            if status != 200:
                raise ControlError(http_error(status, body))
        except (ControlError, WrongServer, TimeoutError) as error:
            log.info("report to the server: %s", error)
            self.input(lambda session: session.lite_failed(self._now()))
        except Exception:
            self.input(lambda session: session.lite_failed(self._now()))
            raise
        else:
            self.input(lambda session: session.lite_done())

    def _close_map(self, *, dead: bool) -> None:
        streaming, self._streaming = self._streaming, None
        if streaming is not None:
            streaming.cancel()
        if dead and self._connection is not None:
            self._connection.close()

    async def _probe(self, action: Probe) -> None:
        try:
            async with asyncio.timeout(PROBE_TIME):
                if action.inside_noise:
                    connection = await self._connected()
                    await connection.request("HEAD", _path(action.url), b"")
                else:
                    await fetch("HEAD", action.url, mark=self._mark, tls=self._trust())
        except (ControlError, WebError, WrongServer, TimeoutError) as error:
            log.info("the server's ping cannot be answered: %s", error)

    async def _reply(self, action: Reply) -> None:
        try:
            async with asyncio.timeout(PROBE_TIME):
                await self._post(action.path, action.body)
        except (ControlError, WrongServer, TimeoutError) as error:
            log.info("the server's request cannot be answered: %s", error)

    async def _testify(self, path: str, asker: NodeKey) -> None:
        await self._reply(Reply(path, pair_answer(await self.testify(asker, ()))))

    async def ask(self, path: str, body: bytes) -> tuple[int, bytes]:
        """A question of ours to the server: status and body. Raises ControlError, WrongServer. Time it out."""
        return await self._post(path, body)

    # --- the connection ----------------------------------------------------------------------------------------

    async def _post(self, path: str, body: bytes) -> tuple[int, bytes]:
        connection = await self._connected()
        return await connection.request("POST", path, body)

    async def _connected(self) -> ControlConnection:
        """The connection that stands, or a new one. Raises ControlError, WrongServer."""
        async with self._dialing:
            if self._connection is not None and not self._connection.closed:
                return self._connection
            key = self._server_key or await self._fetch_key()
            try:
                self._connection = await open_connection(self._url, self._machine, key, mark=self._mark)
            except ControlError:
                self._server_key = None  # the server may have been set up anew: the next attempt asks for its key
                raise
            self._server_key = key
            self.last_address = self._connection.remote_address
            return self._connection

    async def _fetch_key(self) -> MachineKey:
        """The server's Noise key: over verified TLS, or whatever says the same as the invite."""
        try:
            async with asyncio.timeout(KEY_TIME):
                page = await fetch("GET", f"{self._url}/key?v={CAPABILITY_VERSION}", mark=self._mark, tls=self._trust())
            if page.status != 200:
                raise ControlError(f"{self._url} is no coordination server: /key answers HTTP {page.status}")
            key = decode(ServerKeys, page.body).public_key
        except TimeoutError:
            raise ControlError(f"{self._url} does not answer") from None
        except WebError as error:
            raise ControlError(str(error)) from None
        except WireError:
            raise ControlError(f"{self._url} is no coordination server: its /key is not understood") from None
        if self._pinned is not None and key != self._pinned:
            raise WrongServer(
                f"{self._url} holds another key than the invite names: it is another server, or somebody stands between"
            )
        return key

    def _trust(self) -> Any:
        """With the invite's key in hand TLS need not be trusted; without it, the system's roots decide."""
        return unverified() if self._pinned is not None else None


async def _nothing_to_say(_: NodeKey, _regions: tuple[int, ...]) -> bytes | None:
    return None


def running() -> float:
    """Seconds of a clock that nobody sets and that goes on while the machine sleeps (linux: clock_gettime(2))."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def _path(url: str) -> str:
    rest = url.split("://", 1)[-1]
    return "/" + rest.split("/", 1)[1] if "/" in rest else "/"


def is_logged_in(session: ControlSession) -> bool:
    return isinstance(session.login.state, Accepted)


__all__ = ["ControlClient", "Merge", "WrongServer", "is_logged_in"]
