"""Drives the machine of `core/firewall/sync.py`: a task for each order, its answer back into the machine.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from typing import Protocol

from ginnel.core.firewall.sync import Sync
from ginnel.core.firewall.sync_words import (
    Action,
    Answer,
    Apply,
    AskDns,
    AskList,
    Family,
    Listing,
    Question,
    ReadSet,
    Save,
    Saved,
    Tell,
)
from ginnel.shell.firewall.sets import AddressSet, SetError
from ginnel.shell.firewall.sync_audit import Audit, AuditError
from ginnel.shell.firewall.sync_dns import DnsError
from ginnel.shell.firewall.sync_source import SourceError
from ginnel.shell.firewall.sync_state import StateError
from ginnel.words import Instant, IpAddress

log = logging.getLogger("ginnel.firewall.sync")

PROBLEMS_TOLD = 20

Ask = Callable[[Question], Awaitable[Answer]]
"""Raises DnsError."""


class Source(Protocol):
    """Raises SourceError. `problems`: what was refused of the last list, one line each."""

    @property
    def problems(self) -> tuple[str, ...]: ...

    async def listing(self, last_serial: int) -> Listing: ...


class Notes(Protocol):
    """Where the last good state is kept. Raises StateError."""

    def save(self, saved: Saved) -> None: ...


@dataclass(slots=True)
class Keeper:
    """One set and what keeps it. `told` hears what is worth a line; `added`, `removed`: every address of one run by
    `once`. `create`: a set that is gone is made again, as after a reload of the firewall."""

    machine: Sync
    target: AddressSet
    source: Source
    ask: Ask
    notes: Notes
    audit: Audit
    told: Callable[[Tell], None]
    create: bool = False
    added: set[IpAddress] = field(default_factory=set)
    removed: set[IpAddress] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    times: dict[str, float] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _asking: set[asyncio.Task[None]] = field(default_factory=set)
    _remembers: bool = True
    _problems: tuple[str, ...] = ()

    async def once(self) -> None:
        """Until nothing is left that can be done at once."""
        await self._run(lambda: not self.machine.busy(now()))

    async def watch(self, ready: Callable[[], None]) -> None:
        """Until it is cancelled. `ready` is called when the set was first made right, or could not be."""
        waiting = True
        self._remembers = False

        def ended() -> bool:
            nonlocal waiting
            if waiting and (self.counts["set.read"] or self.counts["set-failed"]) and not self.machine.busy(now()):
                waiting = False
                ready()
            return False

        await self._run(ended)

    async def _run(self, ended: Callable[[], bool]) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                self._perform(self.machine.start(now()), tasks)
                while not ended():
                    await self._pause()
                    self._perform(self.machine.tick(now()), tasks)
                for asking in self._asking:  # a second time: nobody waits for that
                    asking.cancel()
        finally:
            self._save(self.machine.state(now()))

    async def _pause(self) -> None:
        at = self.machine.next_timeout()
        try:
            async with asyncio.timeout(None if at is None else max(0.0, at - now())):
                await self._news.wait()
        except TimeoutError:
            return
        self._news.clear()

    # --- orders --------------------------------------------------------------------------------------------------

    def _perform(self, actions: list[Action], tasks: asyncio.TaskGroup) -> None:
        for action in actions:
            match action:
                case AskList():
                    tasks.create_task(self._ask_list(tasks))
                case AskDns(question):
                    asking = tasks.create_task(self._ask_dns(question, tasks))
                    self._asking.add(asking)
                    asking.add_done_callback(self._asking.discard)
                case ReadSet():
                    tasks.create_task(self._read(tasks))
                case Apply():
                    tasks.create_task(self._apply(action, tasks))
                case Save(saved):
                    self._save(saved)
                case Tell():
                    self._tell(action)

    def _heard(self, actions: list[Action], tasks: asyncio.TaskGroup) -> None:
        self._perform(actions, tasks)
        self._news.set()

    async def _ask_list(self, tasks: asyncio.TaskGroup) -> None:
        try:
            listing = await self.source.listing(self.machine.serial)
        except SourceError as error:
            self.counts["list.failed"] += 1
            return self._heard(self.machine.unlisted(str(error), now()), tasks)
        self._count("list.heard")
        self._tell_problems()
        return self._heard(self.machine.listed(listing, now()), tasks)

    async def _ask_dns(self, question: Question, tasks: asyncio.TaskGroup) -> None:
        try:
            answer = await self.ask(question)
        except DnsError as error:
            self.counts["dns.failed"] += 1
            return self._heard(self.machine.unresolved(question, str(error), now()), tasks)
        self._count("dns.heard")
        self.counts["dns.refused"] += len(answer.refused)
        return self._heard(self.machine.resolved(question, answer, now()), tasks)

    async def _read(self, tasks: asyncio.TaskGroup) -> None:
        try:
            found = await self._found()
        except SetError as error:
            self.counts["set.failed"] += 1
            return self._heard(self.machine.unread(str(error), now()), tasks)
        self._count("set.read")
        return self._heard(self.machine.held(found, now()), tasks)

    async def _found(self) -> frozenset[IpAddress]:
        try:
            return await self.target.read()
        except SetError:
            if not self.create:
                raise
        await self.target.prepare()
        return await self.target.read()

    async def _apply(self, change: Apply, tasks: asyncio.TaskGroup) -> None:
        try:
            await self.target.change(change.adds.keys(), change.removes.keys())
        except SetError as error:
            self.counts["set.failed"] += 1
            return self._heard(self.machine.not_applied(str(error), now()), tasks)
        self._done(change)
        return self._heard(self.machine.applied(now()), tasks)

    # --- what is told --------------------------------------------------------------------------------------------

    def _done(self, change: Apply) -> None:
        if self._remembers:
            self.added |= change.adds.keys()
            self.removed |= change.removes.keys()
        self.counts["addresses.added"] += len(change.adds)
        if change.removes:
            self._count("addresses.removed", len(change.removes))
        try:
            self.audit.changed(change.adds, change.removes)
        except AuditError as error:
            self._tell(Tell("audit-failed", str(error)))
        for sign, reasons in (("added", change.adds), ("removed", change.removes)):
            for address, why in reasons.items():
                self.told(Tell(sign, f"{address}: {why}"))

    def _tell_problems(self) -> None:
        """Of the list: a relay that is left out of it is not let through, and somebody has to hear of that. Once."""
        before, self._problems = set(self._problems), self.source.problems
        new = [problem for problem in self._problems if problem not in before]
        for problem in new[:PROBLEMS_TOLD]:
            self._tell(Tell("list-problem", problem))
        if len(new) > PROBLEMS_TOLD:
            self._tell(Tell("list-problem", f"and {len(new) - PROBLEMS_TOLD} more like these"))

    def _save(self, saved: Saved) -> None:
        try:
            self.notes.save(saved)
        except StateError as error:
            self._tell(Tell("state-failed", str(error)))

    def _tell(self, tell: Tell) -> None:
        self.counts[tell.kind] += 1
        self.told(tell)

    def _count(self, name: str, number: int = 1) -> None:
        self.counts[name] += number
        self.times[f"{name}.time"] = time.time()


@dataclass(slots=True)
class Pretended:
    """A set as it would be: nothing is changed (`--dry-run`), and no state is kept."""

    real: AddressSet
    adds: set[IpAddress] = field(default_factory=set)
    removes: set[IpAddress] = field(default_factory=set)

    @property
    def families(self) -> tuple[Family, ...]:
        return self.real.families

    @property
    def batch(self) -> int:
        return self.real.batch

    async def prepare(self) -> None:
        """Nothing is made either."""

    async def read(self) -> frozenset[IpAddress]:
        return (await self.real.read()) - self.removes | self.adds

    async def change(self, adds: Collection[IpAddress], removes: Collection[IpAddress]) -> None:
        self.adds |= set(adds)
        self.removes |= set(removes)

    def save(self, saved: Saved) -> None:
        """A `Notes` that forgets."""


def now() -> Instant:
    """It goes on while the machine sleeps: what DNS said before has then grown old as well."""
    return Instant(time.clock_gettime(time.CLOCK_BOOTTIME))
