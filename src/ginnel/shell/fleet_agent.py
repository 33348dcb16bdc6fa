"""A relay's end of its server's fleet: joins, holds the stream of orders, reports, and comes back when it breaks.

Room: shell. While the server is away the relay goes on with the members it heard of last, for a bounded time; after it,
and for whoever is not among them, it is closed.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ginnel.shell.fleet_state import (
    Home,
    forget_leaving,
    note_leaving,
    read_home,
    read_members,
    was_leaving,
    write_members,
)
from ginnel.shell.node.control_connection import ControlConnection, ControlError
from ginnel.shell.node.control_dial import open_connection
from ginnel.shell.relay import TICK, EmbeddedRelay
from ginnel.shell.relay_orders import RelayOrders
from ginnel.shell.relay_settings import RelayError
from ginnel.wire.read import WireError
from ginnel.wire.relaycontrol import RelayHello, RelayOrder, RelayReport, RelayWelcome
from ginnel.wire.tailcfg import DERPNode, Message, decode, encode
from ginnel.words import MachinePrivate, NodeKey, WallTime

log = logging.getLogger(__name__)
FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 15.0
ANSWER_TIME = 20.0
SILENCE = 70.0
"""Seconds without a word after which the stream is given up: the server says something every 25 s."""

REPORT_EVERY = 30.0
REPORT_WHILE_DRAINING = 1.0
WRITE_MEMBERS_EVERY = 10.0
MEMBERS_AGE = 72 * 3600.0
LEAVE_LOOK = 0.1
"""Seconds between two looks whether clients are left."""


class NotOfTheFleet(Exception):
    """The server will not have this relay. One line for people."""


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """`token`: the one-shot secret, where this relay has not joined yet. `members_age`: seconds."""

    state: Path
    home: Home
    machine: MachinePrivate
    token: str = ""
    members_age: float = MEMBERS_AGE


class FleetAgent:
    """`say` is told lines for people; `joined` is called after each registration."""

    def __init__(
        self,
        relay: EmbeddedRelay,
        settings: AgentSettings,
        say: Callable[[str], None],
        joined: Callable[[RelayWelcome], None],
    ) -> None:
        self._relay = relay
        self._settings = settings
        self._say = say
        self._joined = joined
        self._token = settings.token
        self._orders = RelayOrders(relay.native, self._members_changed)
        self._unwritten = False
        self._heard = 0.0  # the loop's time of the server's last word
        self._heard_wall = WallTime(0.0)
        self._told: tuple[str, str] = ("", "")
        self._wake = asyncio.Event()
        self._entry: DERPNode | None = None
        self._removed = False
        self._connected = False
        self._wish: bool | None = False if was_leaving(settings.state) else None
        self._granted = False
        self._answered = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled. Raises NotOfTheFleet."""
        members, self._heard_wall = read_members(self._settings.state)
        if time.time() - self._heard_wall < self._settings.members_age:
            self._orders.replace_members(members)
        besides = [asyncio.create_task(self._keep_members()), asyncio.create_task(self._keep_fresh())]
        try:
            await self._keep_connected()
        finally:
            for task in besides:
                task.cancel()
            await asyncio.gather(*besides, return_exceptions=True)
            self._write_members()

    async def leave(self, patience: float) -> None:
        """Have the server lead the clients elsewhere before the relay ends; `run` goes on meanwhile. Returns when none
        is left, when `patience` seconds have passed, or where the server is away or has nowhere to lead them."""
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                if await self._may_leave():
                    while self._connected and self._orders.clients():  # noqa: ASYNC110  (counted in Rust)
                        await asyncio.sleep(LEAVE_LOOK)

    async def _may_leave(self) -> bool:
        """What an admin drains already needs no wish of ours."""
        if not self._connected or self._orders.state != "in map":
            return self._orders.state == "draining"
        note_leaving(self._settings.state)
        self._wish = True
        self._answered.clear()
        self._wake.set()
        await self._answered.wait()
        return self._wish is None and self._granted

    async def _keep_connected(self) -> None:
        backoff = FIRST_BACKOFF
        while True:
            began = asyncio.get_running_loop().time()
            try:
                why = await self._once()
            except (ControlError, WireError, OSError, TimeoutError) as error:
                why = str(error) or "no answer in time"
            if self._removed:
                self._orders.replace_members([])
                raise NotOfTheFleet("the server took this relay out of its fleet; join anew with another token")
            stood = asyncio.get_running_loop().time() - began > LONGEST_BACKOFF
            backoff = FIRST_BACKOFF if stood else min(backoff * 2, LONGEST_BACKOFF)
            never = read_home(self._settings.state) is None
            kept = "this relay has not joined and goes on trying" if never else "members stay as they are"
            self._once_said("away", f"the server cannot be reached, {kept}: {why}")
            await asyncio.sleep(backoff * (0.5 + random.random()))  # noqa: S311

    async def _once(self) -> str:
        """One connection, from register to its end. Returns why it ended."""
        settings = self._settings
        connection = await open_connection(settings.home.url, settings.machine, settings.home.server_key, mark=0)
        try:
            await self._register(connection)
            stream = connection.stream("/machine/relay/stream", b"{}", self._take)
            self._heard = asyncio.get_running_loop().time()
            reporting = asyncio.create_task(self._report(connection))
            self._connected = True
            try:
                return await stream.done
            finally:
                self._connected = False
                self._answered.set()
                reporting.cancel()
                await asyncio.gather(reporting, return_exceptions=True)
        finally:
            connection.close()

    async def _register(self, connection: ControlConnection) -> None:
        self._entry = self._own_entry()
        hello = RelayHello(self._relay.key, self._entry, self._token, mesh=True)
        welcome = await self._ask(connection, "register", hello)
        if welcome.error and welcome.fatal:
            if not self._token:
                self._orders.replace_members([])
            raise NotOfTheFleet(welcome.error)
        if welcome.error:
            raise ControlError(welcome.error)
        self._token = ""
        self._joined(welcome)

    async def _ask(self, connection: ControlConnection, what: str, message: Message) -> RelayWelcome:
        async with asyncio.timeout(ANSWER_TIME):
            status, body = await connection.request("POST", f"/machine/relay/{what}", encode(message))
        if status != 200:
            raise ControlError(f"the server answered HTTP {status}; is it one that keeps a relay fleet?")
        return decode(RelayWelcome, body)

    def _own_entry(self) -> DERPNode:
        return (self._relay.region.nodes or [])[0]

    # --- the server's orders ---------------------------------------------------------------------------------

    def _take(self, body: bytes) -> None:
        order = decode(RelayOrder, body)
        self._heard, self._heard_wall = asyncio.get_running_loop().time(), WallTime(time.time())
        self._removed = self._removed or order.state == "removed"
        self._orders.take(order)
        if order.state:
            self._once_said(order.state, order.why)
            self._wake.set()

    def _once_said(self, state: str, why: str) -> None:
        if (state, why) != self._told:
            self._told = (state, why)
            self._say(f"{state}: {why}" if why else state)

    # --- reports ---------------------------------------------------------------------------------------------

    async def _report(self, connection: ControlConnection) -> None:
        """Now and then, and at once when something is due; ends the stream when nothing comes by it."""
        loop = asyncio.get_running_loop()
        while not connection.closed:
            if loop.time() - self._heard > SILENCE:
                connection.close("nothing came from the server for too long")
                return
            with suppress(TimeoutError):
                patience = REPORT_WHILE_DRAINING if self._orders.state == "draining" else REPORT_EVERY
                async with asyncio.timeout(patience):  # not wait_for: in Python 3.11 it may lose a cancellation
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._tell(connection)
            except (ControlError, WireError, TimeoutError) as error:
                connection.close(str(error) or "the server does not answer reports")

    async def _tell(self, connection: ControlConnection) -> None:
        entry = self._own_entry()
        report = RelayReport(
            node=entry if entry != self._entry else None,
            clients=self._orders.clients(),
            counters=self._relay.native.counters(),
            mesh_links=self._orders.mesh_links(),
            drain=(wish := self._wish),
        )
        answer = await self._ask(connection, "report", report)
        if answer.error and report.node is not None:
            self._not_taken(entry, answer)
            return
        self._entry = entry
        if wish is not None:
            self._wished(wish, answer)

    def _not_taken(self, entry: DERPNode, answer: RelayWelcome) -> None:
        """The new entry, and with it whatever else was in the report."""
        self._once_said("the server does not take the new entry", answer.error)
        if answer.fatal:  # saying it again is of no use, but a wish still is
            self._entry = entry
            self._wake.set()

    def _wished(self, drain: bool, answer: RelayWelcome) -> None:
        self._wish, self._granted = None, not answer.error
        if answer.error:
            self._say(answer.error)
        if not drain or answer.error:
            forget_leaving(self._settings.state)
        self._answered.set()

    # --- members and certificates ----------------------------------------------------------------------------

    def _members_changed(self, members: Collection[NodeKey]) -> None:  # noqa: ARG002
        self._unwritten = True

    async def _keep_members(self) -> None:
        """Write them now and then; drop them when they are too old to be believed."""
        while True:
            await asyncio.sleep(WRITE_MEMBERS_EVERY)
            self._write_members()
            if self._orders.members and time.time() - self._heard_wall > self._settings.members_age:
                self._orders.replace_members([])
                self._say("the server has been away for too long: nobody is let in until it is back")

    def _write_members(self) -> None:
        if not self._orders.members or not self._unwritten:
            return
        try:
            write_members(self._settings.state, self._orders.members, self._heard_wall)
            self._unwritten = False
        except RelayError as error:
            log.error("the members are not kept for a restart: %s", error)

    async def _keep_fresh(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._look(at_once=False)

    def look(self) -> None:
        """At the relay's files, because somebody says that they have changed."""
        self._look(at_once=True)

    def _look(self, *, at_once: bool) -> None:
        try:
            if self._relay.tick(WallTime(time.time()), look=at_once):
                self._wake.set()
        except RelayError as error:
            self._say(str(error))
