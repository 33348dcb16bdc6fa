"""What nodes and relays ask inside their control connections.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

from ginnel.core.channel import (
    ChannelError,
    SlowReader,
)
from ginnel.core.control import limits
from ginnel.core.control.login import Caller
from ginnel.core.control.mapper import Stream
from ginnel.core.control.records import Node
from ginnel.shell.control import pair_desk
from ginnel.shell.control.channel_connection import TEXT, ChannelConnection, Incoming
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.fleet_links import StreamLink
from ginnel.shell.control.logins import Failure
from ginnel.shell.control.relay_requests import PREFIX, RelayDoor
from ginnel.shell.control.strangers import Strangers
from ginnel.wire.doctor import PairQuestion
from ginnel.wire.read import WireError
from ginnel.wire.relaycontrol import RelayHello, RelayReport, RelayWelcome
from ginnel.wire.tailcfg import MapRequest, RegisterRequest, RegisterResponse, decode, decode_request, encode
from ginnel.words import ChallengeKey, MachineKey, MachinePrivate

log = logging.getLogger("ginnel.control")
JSON = (("content-type", "application/json"),)


class ControlConnection(ChannelConnection):
    """One node's, or one relay's."""

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
        super().__init__(
            coordinator, server_key, challenge, source=source, strangers=strangers, spawn=spawn, closed=closed
        )
        self._streaming: set[int] = set()  # requests for a map stream that are still open
        self._maps: dict[int, Stream] = {}
        self._relays: dict[int, StreamLink] = {}

    def _streams(self) -> Collection[int]:
        return [*self._maps, *self._relays]

    def _forget(self, number: int) -> None:
        super()._forget(number)
        self._streaming.discard(number)
        stream = self._maps.pop(number, None)
        if stream is not None:
            self._coordinator.close_stream(stream)
        link = self._relays.pop(number, None)
        if link is not None and self._coordinator.relays is not None:
            self._coordinator.relays.close(link)

    # --- requests --------------------------------------------------------------------------------------------

    def _dispatch(self, number: int, incoming: Incoming) -> None:
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
            elif path == pair_desk.PATH and incoming.request.method == "POST":
                self._tasks[number] = self._spawn(self._ask_about_pair(number, decode_request(PairQuestion, body)))
            elif path.startswith(pair_desk.ANSWER_PATH) and incoming.request.method == "POST":
                self._take_answer(number, path.removeprefix(pair_desk.ANSWER_PATH), body)
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

    async def _ask_about_pair(self, number: int, question: PairQuestion) -> None:
        answer = await self._coordinator.pairs.ask(self._channel.machine, question)
        self._tasks.pop(number, None)
        if isinstance(answer, Failure):
            self._fail(number, answer)
        else:
            self._respond(number, 200, JSON, answer)

    def _take_answer(self, number: int, token: str, body: bytes) -> None:
        if self._coordinator.pairs.answered(self._channel.machine, token, body):
            self._respond(number, 200, (), b"")
        else:
            self._fail(number, Failure(404, "nobody asked"))

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


@dataclass(frozen=True, slots=True)
class _MapSink:
    connection: ControlConnection
    number: int

    def write(self, data: bytes) -> None:
        self.connection.send_frames(self.number, data)

    def finish(self) -> None:
        self.connection.finish_map(self.number)
