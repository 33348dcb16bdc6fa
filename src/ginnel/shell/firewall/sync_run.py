"""One run of `firewall sync`, from the state on disk to the numbers at the end.

Room: shell.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ginnel.core.firewall.sync import Sync
from ginnel.core.firewall.sync_words import Settings, Tell
from ginnel.shell.firewall.member_feed import MemberFeed
from ginnel.shell.firewall.sets import AddressSet, SetError
from ginnel.shell.firewall.sync_audit import Audit
from ginnel.shell.firewall.sync_dns import Resolvers
from ginnel.shell.firewall.sync_drive import Keeper, Pretended, now
from ginnel.shell.firewall.sync_metrics import MetricsError, address_of, serving, text_of, write
from ginnel.shell.firewall.sync_source import FeedSource, MapSource
from ginnel.shell.firewall.sync_state import Loaded, Store, load, state_file
from ginnel.shell.systemd import notify

METRICS_EVERY = 10.0


@dataclass(frozen=True, slots=True)
class Run:
    """What the command line asks for. `name`: of the set, as it was given; `metrics`: an address or a file, ""."""

    backend: str
    name: str
    target: AddressSet
    source: MapSource | FeedSource | MemberFeed
    resolvers: Resolvers
    settings: Settings
    state: Path
    audit: Path | None = None
    metrics: str = ""
    create: bool = False
    dry_run: bool = False

    async def once(self, told: Callable[[Tell], None]) -> Keeper:
        """Raises StateError, AuditError, MetricsError, and SetError where the set cannot be made."""
        with self._store() as store:
            keeper = await self._keeper(store, told)
            async with self._numbers(keeper):
                await keeper.once()
            return keeper

    async def watch(self, told: Callable[[Tell], None]) -> None:
        """Until SIGTERM or SIGINT. Raises StateError, AuditError, MetricsError."""
        with self._store() as store:
            keeper = await self._keeper(store, told)
            async with self._numbers(keeper):
                running = asyncio.create_task(keeper.watch(lambda: notify("READY=1\nSTATUS=the set is current")))
                loop = asyncio.get_running_loop()
                for number in (signal.SIGTERM, signal.SIGINT):
                    loop.add_signal_handler(number, running.cancel)
                with suppress(asyncio.CancelledError):
                    await running

    @property
    def _key(self) -> str:
        """A member's is not known yet; it follows the one that it followed last."""
        return str(self.source.key) if isinstance(self.source, FeedSource) else ""

    def _store(self) -> _Held:
        return _Held(None if self.dry_run else Store(self.state, self.backend, self.name, self._key))

    async def _keeper(self, held: Store | None, told: Callable[[Tell], None]) -> Keeper:
        found = self._load(held, told)
        target: AddressSet = Pretended(self.target) if held is None else self.target
        audit = Audit(None if held is None else self.audit, f"{self.backend} {self.name}", self.source.name)
        audit.check()
        await self._prepare(target, told)
        machine = Sync(self.settings, found.saved, found.elapsed, now())
        notes = held or Pretended(self.target)
        return Keeper(machine, target, self.source, self.resolvers.ask, notes, audit, told, self.create)

    def _load(self, held: Store | None, told: Callable[[Tell], None]) -> Loaded:
        """A dry run reads it too, beside whoever holds it."""
        path = state_file(self.state, self.backend, self.name)
        found = held.load() if held is not None else load(path, self._key)
        if found.problem:
            told(Tell("state-failed", found.problem))
        return found

    async def _prepare(self, target: AddressSet, told: Callable[[Tell], None]) -> None:
        """A firewall that is not up yet is asked again when the set is read: nobody gives up for it."""
        if self.create:
            try:
                await target.prepare()
            except SetError as error:
                told(Tell("set-failed", str(error)))

    @asynccontextmanager
    async def _numbers(self, keeper: Keeper) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            if self.metrics and (place := address_of(self.metrics)) is not None:
                await stack.enter_async_context(serving(keeper, *place))
            elif self.metrics:
                path, text = Path(self.metrics), text_of(keeper)
                write(path, text())
                stack.callback(lambda: _write(path, text, keeper.told))
                writing = asyncio.create_task(_write_often(path, text, keeper.told))
                stack.callback(writing.cancel)
            yield


async def _write_often(path: Path, text: Callable[[], bytes], told: Callable[[Tell], None]) -> None:
    while True:
        await asyncio.sleep(METRICS_EVERY)
        _write(path, text, told)


def _write(path: Path, text: Callable[[], bytes], told: Callable[[Tell], None]) -> None:
    """A full disk does not keep the set from being kept."""
    try:
        write(path, text())
    except MetricsError as error:
        told(Tell("metrics-failed", str(error)))


class _Held:
    """The store's lock for as long as the block lasts."""

    def __init__(self, store: Store | None) -> None:
        self._store = store

    def __enter__(self) -> Store | None:
        return self._store

    def __exit__(self, *_: object) -> None:
        if self._store is not None:
            self._store.close()
