"""Carries a node's question about a pair to the peer, inside the answers to that one's requests, and the answer back.

Room: shell. The rules are in core/control/pair_questions.py.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable

from ginnel.core.control.mapper import Mapper
from ginnel.core.control.pair_questions import PATIENCE, Asked, NotAsked, PairQuestions
from ginnel.core.control.records import Node
from ginnel.core.control.registry import Registry
from ginnel.core.node.c2n import body_of, pair_question
from ginnel.shell.control.logins import Failure
from ginnel.wire.doctor import PairQuestion, parse_testimony
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import MapResponse, PingRequest, encode
from ginnel.words import Instant, MachineKey, NodeId

PATH = "/machine/doctor"
ANSWER_PATH = PATH + "/answer/"


class PairDesk:
    """`send`: an object for the node's map stream; False where it has none."""

    def __init__(
        self,
        registry: Registry,
        mapper: Mapper,
        send: Callable[[NodeId, bytes], bool],
        now: Callable[[], Instant],
    ) -> None:
        self._registry = registry
        self._send = send
        self._now = now
        self._questions = PairQuestions(secrets.token_bytes, mapper.access.sees)
        self._waiting: dict[str, asyncio.Future[bytes]] = {}

    async def ask(self, machine: MachineKey, question: PairQuestion) -> bytes | Failure:
        """A Testimony as JSON."""
        asker = self._registry.node_of(question.node_key, machine)
        peer = self._registry.node_with(question.peer)
        if asker is None or peer is None:
            return Failure(404, "no such peer")
        try:
            asked = self._questions.ask(asker.id, peer.id, self._now())
        except NotAsked as error:
            return Failure(error.status, str(error))
        try:
            return await self._carry(asked, asker)
        finally:
            self._questions.over(asked)
            self._waiting.pop(asked.token, None)

    async def _carry(self, asked: Asked, asker: Node) -> bytes | Failure:
        ping = PingRequest(
            url=f"https://unused{ANSWER_PATH}{asked.token}", types="c2n", payload=pair_question(asker.key)
        )
        waiting = self._waiting[asked.token] = asyncio.get_running_loop().create_future()
        if not self._send(asked.peer, encode(MapResponse(ping_request=ping))):
            return Failure(503, "the peer is not connected to the server")
        try:
            async with asyncio.timeout(PATIENCE):
                body = body_of(await waiting)
            parse_testimony(body)
        except TimeoutError:
            return Failure(504, "the peer does not answer the server's question: an official client, or an old version")
        except WireError as error:
            return Failure(502, f"the peer's answer is not understood: {error}")
        return body

    def answered(self, machine: MachineKey, token: str, body: bytes) -> bool:
        """Whether that machine was asked so."""
        for node in self._registry.nodes_of(machine):
            if self._questions.answered(token, node.id):
                waiting = self._waiting.get(token)
                if waiting is not None and not waiting.done():
                    waiting.set_result(body)
                return True
        return False
