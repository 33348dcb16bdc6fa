"""One control connection up to its requests: Noise and HTTP/2 by the channel core, patience, bounds.

Room: shell. A protocol that takes over the transport of an upgraded HTTP connection. What is asked is in connection.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field

from ginnel.core.channel import Body, ChannelError, Closed, Event, Limits, Request, Reset, Send, ServerChannel
from ginnel.core.control import limits
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.logins import Failure
from ginnel.shell.control.strangers import Strangers
from ginnel.words import ChallengeKey, MachinePrivate

log = logging.getLogger("ginnel.control")
TEXT = (("content-type", "text/plain; charset=utf-8"),)
CHANNEL_LIMITS = Limits(
    body=limits.MAX_REQUEST_BODY,
    queue=limits.MAX_QUEUED_BYTES,
    streams=limits.MAX_OPEN_REQUESTS,
    headers=limits.MAX_HEAD,
)


@dataclass(slots=True)
class Incoming:
    request: Request
    since: float
    body: bytearray = field(default_factory=bytearray)


class ChannelConnection(asyncio.Protocol, ABC):
    """`source`: who is counted together with this client. `strangers`: the connections that have not yet shown a
    registered node; this one is in it until it has. `spawn` starts a task that the server's task group owns. `closed`
    is called once, when the transport is gone."""

    def __init__(
        self,
        coordinator: Coordinator,
        server_key: MachinePrivate,
        challenge: ChallengeKey | None,
        *,
        source: str,
        strangers: Strangers[ChannelConnection],
        spawn: Callable[..., asyncio.Task[None]],
        closed: Callable[[], None],
    ) -> None:
        self._coordinator = coordinator
        self._channel = ServerChannel(server_key, os.urandom(32), challenge, CHANNEL_LIMITS)
        self.source = source
        self._strangers = strangers
        self._body_limit = limits.MAX_STRANGERS_BODY
        self._spawn = spawn
        self._closed = closed
        self._incoming: dict[int, Incoming] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._asked = False  # a request has come
        self._heard = self._busy = 0.0  # the loop's time of the last bytes, and of the last request under way
        self._transport: asyncio.Transport

    def accept(self, initiation: bytes) -> bytes:
        """What follows the 101's head. Raises WireError."""
        return self._channel.accept(initiation)

    def start(self, transport: asyncio.Transport, early: bytes) -> None:
        """The transport is ours from here; `early` came in the same packet as the request."""
        self._transport = transport
        self._strangers.add(self, self.source)
        self._loop = asyncio.get_running_loop()
        self._heard = self._busy = self._loop.time()
        self._timer = self._loop.call_later(limits.HANDSHAKE_TIMEOUT, self._check)
        if early:
            self.data_received(early)

    def _check(self) -> None:
        """Now and then: whoever holds the connection for nothing, or is no more, is let go."""
        if self._timer is not None:
            self._timer.cancel()
        now = self._loop.time()
        verdict = self._verdict(now)
        if verdict:
            self.let_go(verdict)
            return
        if self._streams() and now - self._heard >= limits.PING_AFTER:
            with suppress(ChannelError):
                self._write(self._channel.ping())
        self._timer = self._loop.call_later(limits.REQUEST_TIMEOUT / 2, self._check)

    def let_go(self, reason: str = "pushed_out") -> None:
        self._coordinator.count(f"control.{reason}")
        self._transport.abort()

    def _verdict(self, now: float) -> str:
        if not self._asked:
            return "no_request"
        if any(now - incoming.since >= limits.REQUEST_TIMEOUT for incoming in self._incoming.values()):
            return "slow_request"
        if self._streams() or self._tasks:
            self._busy = now
        elif now - self._busy >= limits.IDLE_TIMEOUT:
            return "idle"
        return "dead" if self._streams() and now - self._heard >= limits.DEAD_AFTER else ""

    @abstractmethod
    def _dispatch(self, number: int, incoming: Incoming) -> None:
        """A request is whole."""

    @abstractmethod
    def _streams(self) -> Collection[int]:
        """Answers without an end."""

    # --- asyncio ---------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._heard = self._loop.time()
        for event in self._channel.receive(data):
            self._take(event)

    def eof_received(self) -> bool:
        return False

    def pause_writing(self) -> None:
        """The client does not read: then it need not write either."""
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        if self._timer is not None:
            self._timer.cancel()
        for number in [*self._incoming, *self._tasks, *self._streams()]:
            self._forget(number)
        self._strangers.discard(self, self.source)
        self._closed()

    # --- the channel's events --------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        match event:
            case Send(data):
                self._transport.write(data)
            case Request():
                self._incoming[event.stream] = Incoming(event, self._heard)
            case Body(stream, data, ended):
                self._take_body(stream, data, ended)
            case Reset(stream):
                self._forget(stream)
            case Closed(reason):
                self._coordinator.count("control.closed")
                log.debug("control connection closed: %s", reason)
                self._transport.close()

    def _take_body(self, number: int, data: bytes, ended: bool) -> None:
        incoming = self._incoming.get(number)
        if incoming is None:
            return
        incoming.body += data
        if sum(len(other.body) for other in self._incoming.values()) > self._body_limit:
            self._coordinator.count("control.body_too_large")
            self._give_up(number)
        elif ended:
            del self._incoming[number]
            self._asked = True
            self._busy = self._heard
            self._dispatch(number, incoming)

    def _forget(self, number: int) -> None:
        """The stream is over: a waiting login is given up."""
        self._incoming.pop(number, None)
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()

    def _give_up(self, number: int) -> None:
        """The client hears of it, unless it is gone: one that waits for an answer would wait for ever."""
        self._forget(number)
        self._write(self._channel.reset(number))

    # --- answers ---

    def _fail(self, number: int, failure: Failure) -> None:
        self._respond(number, failure.status, TEXT, failure.text.encode() + b"\n")

    def _respond(
        self, number: int, status: int, headers: tuple[tuple[str, str], ...], body: bytes, *, end: bool = True
    ) -> None:
        try:
            self._write(self._channel.respond(number, status, headers, body, end))
        except ChannelError:
            self._give_up(number)

    def _write(self, data: bytes) -> None:
        if not data or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > limits.MAX_QUEUED_BYTES:
            self._coordinator.count("control.slow_reader")
            self._transport.abort()
