"""One node's control connection: Noise and HTTP/2 by the channel core, requests to the coordinator.

Room: shell. A protocol that takes over the transport of an upgraded HTTP connection.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ginnel.core.channel import (
    Body,
    ChannelError,
    Closed,
    Event,
    Limits,
    Request,
    Reset,
    Send,
    ServerChannel,
    SlowReader,
)
from ginnel.core.control import limits
from ginnel.core.control.login import Caller
from ginnel.core.control.mapper import Stream
from ginnel.core.control.records import Node
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.fleet_links import StreamLink
from ginnel.shell.control.logins import Failure
from ginnel.shell.control.relay_requests import PREFIX, RelayDoor
from ginnel.shell.control.strangers import Strangers
from ginnel.wire.read import WireError
from ginnel.wire.relaycontrol import RelayHello, RelayReport, RelayWelcome
from ginnel.wire.tailcfg import MapRequest, RegisterRequest, RegisterResponse, decode, decode_request, encode
from ginnel.words import ChallengeKey, MachineKey, MachinePrivate

log = logging.getLogger("ginnel.control")
JSON = (("content-type", "application/json"),)
TEXT = (("content-type", "text/plain; charset=utf-8"),)
CHANNEL_LIMITS = Limits(
    body=limits.MAX_REQUEST_BODY,
    queue=limits.MAX_QUEUED_BYTES,
    streams=limits.MAX_OPEN_REQUESTS,
    headers=limits.MAX_HEAD,
)


@dataclass(slots=True)
class _Incoming:
    request: Request
    since: float
    body: bytearray = field(default_factory=bytearray)


class ControlConnection(asyncio.Protocol):
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
        strangers: Strangers[ControlConnection],
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
        self._incoming: dict[int, _Incoming] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._streaming: set[int] = set()  # requests for a map stream that are still open
        self._maps: dict[int, Stream] = {}
        self._relays: dict[int, StreamLink] = {}
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
        if (self._maps or self._relays) and now - self._heard >= limits.PING_AFTER:
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
        if self._maps or self._tasks or self._relays:
            self._busy = now
        elif now - self._busy >= limits.IDLE_TIMEOUT:
            return "idle"
        return "dead" if (self._maps or self._relays) and now - self._heard >= limits.DEAD_AFTER else ""

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
        for number in [*self._incoming, *self._tasks, *self._maps, *self._relays]:
            self._forget(number)
        self._strangers.discard(self, self.source)
        self._closed()

    # --- the channel's events --------------------------------------------------------------------------------

    def _take(self, event: Event) -> None:
        match event:
            case Send(data):
                self._transport.write(data)
            case Request():
                self._incoming[event.stream] = _Incoming(event, self._heard)
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
            self._dispatch(number, incoming)

    def _forget(self, number: int) -> None:
        """The stream is over: a waiting login is given up, a map stream closed."""
        self._incoming.pop(number, None)
        self._streaming.discard(number)
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()
        stream = self._maps.pop(number, None)
        if stream is not None:
            self._coordinator.close_stream(stream)
        link = self._relays.pop(number, None)
        if link is not None and self._coordinator.relays is not None:
            self._coordinator.relays.close(link)

    def _give_up(self, number: int) -> None:
        """The client hears of it, unless it is gone: one that waits for an answer would wait for ever."""
        self._forget(number)
        self._write(self._channel.reset(number))

    # --- requests --------------------------------------------------------------------------------------------

    def _dispatch(self, number: int, incoming: _Incoming) -> None:
        self._asked = True
        self._busy = self._heard
        path = incoming.request.path.partition("?")[0]
        body = bytes(incoming.body)
        try:
            if path == "/machine/register" and incoming.request.method == "POST":
                request = decode_request(RegisterRequest, body)
                self._tasks[number] = self._spawn(self._register(number, request))
            elif path == "/machine/map" and incoming.request.method == "POST":
                self._map(number, decode_request(MapRequest, body))
            elif path.startswith(PREFIX) and incoming.request.method == "POST" and self._coordinator.relays is not None:
                self._relay(number, path.removeprefix(PREFIX), body, self._coordinator.relays)
            elif path == "/machine/whoami":
                self._respond(number, 200, TEXT, self._who_asks())
            elif path.startswith("/machine/"):
                self._fail(number, Failure(501, "not implemented"))
            else:
                self._fail(number, Failure(404, "not found"))
        except WireError as error:
            self._coordinator.count("control.bad_body")
            self._fail(number, Failure(400, str(error)))

    def _who_asks(self) -> bytes:
        """What `tailscale debug ts2021` asks to see that a request inside the channel is answered."""
        names = [node.label for node in self._coordinator.registry.nodes_of(self._channel.machine)]
        return f"{self._channel.machine}: {', '.join(names) or 'no machine of this mesh'}\n".encode()

    async def _register(self, number: int, request: RegisterRequest) -> None:
        answer: RegisterResponse | Failure
        try:
            answer = await self._coordinator.logins.register(request, Caller(self._channel.machine, self.source))
        except Exception:  # what a stranger sends must not end the task group, and the server with it
            log.exception("a registration failed")
            answer = Failure(500, "the server failed; its log says why")
        self._tasks.pop(number, None)
        if isinstance(answer, Failure):
            self._fail(number, answer)
        else:
            self._respond(number, 200, JSON, encode(answer))

    def _map(self, number: int, request: MapRequest) -> None:
        node = self._coordinator.node_for_map(request, self._channel.machine)
        if isinstance(node, Failure):
            self._fail(number, node)
            return
        self._strangers.discard(self, self.source)
        self._body_limit = limits.MAX_REQUEST_BODY
        if request.read_only and not request.stream:
            self._respond(number, 200, JSON, self._coordinator.snapshot(node, request.compress))
            return
        self._coordinator.update(node, request)
        if request.stream:
            self._open_map(number, node, request.compress)
        elif request.omit_peers:
            self._respond(number, 200, (), b"")
        else:
            self._respond(number, 200, JSON, self._coordinator.snapshot(node, request.compress))

    def _open_map(self, number: int, node: Node, compress: str) -> None:
        """The client may be gone, or read too slowly for its first frame: then the node has no stream by this."""
        self._streaming.add(number)
        self._respond(number, 200, (), b"", end=False)
        if number not in self._streaming:
            return
        stream = self._coordinator.open_stream(node, compress=compress, sink=_MapSink(self, number))
        if number in self._streaming:
            self._maps[number] = stream
        else:
            self._coordinator.close_stream(stream)

    def _relay(self, number: int, what: str, body: bytes, door: RelayDoor) -> None:
        machine = self._channel.machine
        if door.knows(machine):
            self._strangers.discard(self, self.source)
        match what:
            case "register":
                self._answer_later(number, door.register(machine, decode(RelayHello, body)))
            case "report":
                self._answer_later(number, door.report(machine, decode(RelayReport, body)))
            case "stream":
                self._open_relay(number, machine, door)
            case _:
                self._fail(number, Failure(404, "not found"))

    def _answer_later(self, number: int, work: Coroutine[Any, Any, RelayWelcome]) -> None:
        self._tasks[number] = task = self._spawn(self._welcome(number, work))
        task.add_done_callback(lambda _: work.close())  # not begun when the client left: nobody misses it

    async def _welcome(self, number: int, work: Coroutine[Any, Any, RelayWelcome]) -> None:
        try:
            answer = await work
        except Exception:  # what a stranger sends must not end the task group, and the server with it
            log.exception("a relay's request failed")
            answer = RelayWelcome(error="the server failed; its log says why")
        self._tasks.pop(number, None)
        self._respond(number, 200, JSON, encode(answer))

    def _open_relay(self, number: int, machine: MachineKey, door: RelayDoor) -> None:
        if not door.knows(machine):
            self._fail(number, Failure(403, "this relay is not of the fleet"))
            return
        self._streaming.add(number)
        self._respond(number, 200, (), b"", end=False)
        link = door.open(machine, _MapSink(self, number)) if number in self._streaming else Failure(410, "gone")
        if isinstance(link, Failure):
            return
        if number in self._streaming:
            self._relays[number] = link
        else:
            door.close(link)

    def _fail(self, number: int, failure: Failure) -> None:
        self._respond(number, failure.status, TEXT, failure.text.encode() + b"\n")

    def _respond(
        self, number: int, status: int, headers: tuple[tuple[str, str], ...], body: bytes, *, end: bool = True
    ) -> None:
        try:
            self._write(self._channel.respond(number, status, headers, body, end))
        except ChannelError:
            self._give_up(number)

    # --- map streams -----------------------------------------------------------------------------------------

    def send_frames(self, number: int, data: bytes) -> None:
        try:
            self._write(self._channel.send(number, data))
        except SlowReader:
            self._coordinator.count("control.slow_reader")
            self._give_up(number)
        except ChannelError:
            self._forget(number)

    def finish_map(self, number: int) -> None:
        self._maps.pop(number, None)
        self._relays.pop(number, None)
        self._streaming.discard(number)
        try:
            self._write(self._channel.send(number, b"", end=True))
        except ChannelError:
            return

    def _write(self, data: bytes) -> None:
        if not data or self._transport.is_closing():
            return
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > limits.MAX_QUEUED_BYTES:
            self._coordinator.count("control.slow_reader")
            self._transport.abort()


@dataclass(frozen=True, slots=True)
class _MapSink:
    connection: ControlConnection
    number: int

    def write(self, data: bytes) -> None:
        self.connection.send_frames(self.number, data)

    def finish(self) -> None:
        self.connection.finish_map(self.number)
