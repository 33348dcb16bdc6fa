"""Register requests: decided by the desk, committed, then answered; followups wait here for an admin's word.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

from ginnel.core.control.login import BadRequest, Caller, Hold, LoginDesk, Reply
from ginnel.core.control.records import Node, Row
from ginnel.core.control.refusals import Refusals
from ginnel.shell.control.store import StoreUnavailable
from ginnel.shell.control.turns import Turns
from ginnel.wire.tailcfg import RegisterRequest, RegisterResponse
from ginnel.words import Instant, WallTime

log = logging.getLogger("ginnel.control")


@dataclass(frozen=True, slots=True)
class Failure:
    """A request that is answered with a status and a line of text."""

    status: int
    text: str


class Logins:
    """`commit` writes rows and applies them, inside a turn; it raises StoreUnavailable."""

    def __init__(
        self,
        desk: LoginDesk,
        turns: Turns,
        commit: Callable[[Sequence[Row]], Awaitable[None]],
        clocks: Callable[[], tuple[Instant, WallTime]],
    ) -> None:
        self.desk = desk
        self.refused = 0
        self._turns = turns
        self._commit = commit
        self._clocks = clocks
        self._refusals = Refusals()
        self._waiting: dict[str, set[asyncio.Future[None]]] = {}

    async def register(self, request: RegisterRequest, caller: Caller) -> RegisterResponse | Failure:
        """Answers when there is an answer: with a followup that may be hours later. Cancel it freely."""
        while True:
            outcome = await self._turns.take(self._decide(request, caller))
            if isinstance(outcome, Hold):
                await self._wait_for(outcome)
                continue
            if isinstance(outcome, RegisterResponse) and outcome.error:
                await asyncio.sleep(self._refusals.delay(caller.source, self._clocks()[0]))
            return outcome

    async def _decide(self, request: RegisterRequest, caller: Caller) -> RegisterResponse | Failure | Hold:
        outcome = self.desk.decide(request, caller, *self._clocks())
        if isinstance(outcome, Reply):
            return await self._reply(outcome)
        return Failure(400, outcome.text) if isinstance(outcome, BadRequest) else outcome

    async def _reply(self, reply: Reply) -> RegisterResponse | Failure:
        self.wake(reply.ousted)
        if reply.refused:
            self.refused += 1
            return reply.response
        try:
            await self._commit(reply.rows)
        except StoreUnavailable as error:
            log.error("a registration was not taken: %s", error)
            return Failure(503, "the server cannot store registrations now; try again later")
        self._finish(reply.settled)
        return reply.response

    def _finish(self, login_ids: Sequence[str]) -> None:
        for login_id in login_ids:
            self.desk.pending.finish(login_id)
        self.wake(login_ids)

    async def _wait_for(self, hold: Hold) -> None:
        """Until the login is over; it may be already, for others had their turn since it was decided to wait."""
        if self.desk.pending.get(hold.login_id) is None:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(hold.login_id, set())
        waiters.add(waiter)
        try:
            await waiter
        finally:
            waiters.discard(waiter)
            if not waiters and self._waiting.get(hold.login_id) is waiters:
                del self._waiting[hold.login_id]

    def wake(self, login_ids: Iterable[str]) -> None:
        for login_id in login_ids:
            for waiter in self._waiting.pop(login_id, set()):
                if not waiter.done():
                    waiter.set_result(None)

    async def approve(self, login_id: str, user_name: str, actor: str) -> Node:
        """Raises Refused, StoreUnavailable."""
        return await self._turns.take(self._approve(login_id, user_name, actor))

    async def _approve(self, login_id: str, user_name: str, actor: str) -> Node:
        user = self.desk.registry.user_named(user_name)
        node, rows = self.desk.approve(login_id, user, self._clocks()[1], actor)
        await self._commit(rows)
        self._finish([login_id])
        return node
