"""Keeps the relays' names in another server: reads what it has, sends what differs, and tries again (RFC 2136).

Room: shell. By TCP, queries and updates signed, answers verified.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ginnel.core.relaydns import update as core
from ginnel.core.relaydns.update import UpdateFailed
from ginnel.core.relaydns.zone import Zone
from ginnel.shell.relaydns.config import UpdateTarget
from ginnel.shell.relaydns.state import load, save
from ginnel.wire.dns import Message, name_of, query_bytes, read_message, text_of
from ginnel.wire.read import WireError
from ginnel.wire.tsig import BADTIME, BadSignature, find_tsig, read_tsig, sign, verify

log = logging.getLogger("ginnel.relaydns")

PATIENCE = 10.0
"""Seconds to connect, and for each answer."""
WINDOW = 32
"""Queries under way at once on the connection."""


class Updater:
    """`run` until cancelled; `publish` hands it the zone to bring about. `written`: the file of the names put there."""

    def __init__(self, target: UpdateTarget, written: Path, wall: Callable[[], float] = time.time) -> None:
        self._target = target
        self._file = written
        self._wall = wall
        self._written = {name_of(text).lower() for text in load(written, list[str], []) if _is_name(text)}
        self._zone: Zone | None = None
        self._news = asyncio.Event()
        self.failures = 0
        self.why = ""

    def publish(self, zone: Zone) -> None:
        self._zone = zone
        self._news.set()

    async def run(self) -> None:
        while True:
            wait = await self._round() if self._zone is not None else None
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):  # not wait_for: in Python 3.11 it may lose a cancellation
                    await self._news.wait()

    async def _round(self) -> float:
        """Seconds until the next. New zones end the wait, unless the server fails: then they wait with the rest."""
        self._news.clear()
        try:
            await self.bring_about(self._zone_now())
        except (UpdateFailed, TimeoutError, OSError, EOFError, WireError, BadSignature) as error:
            self._failed(_reason(error))
        except Exception:  # names must not take the server down
            log.exception("updating the DNS server %s failed", self._target.server)
            self._failed("see above")
        else:
            return self._succeeded()
        await asyncio.sleep(core.retry_after(self.failures, random.random()))  # noqa: S311
        return 0

    def _succeeded(self) -> float:
        if self.failures:
            log.info("the DNS server %s has the relays' names again", self._target.server)
        self.failures, self.why = 0, ""
        return core.CHECK_EVERY

    def _zone_now(self) -> Zone:
        assert self._zone is not None
        return self._zone

    def _failed(self, why: str) -> None:
        self.failures += 1
        if why != self.why:
            log.warning("the DNS server %s keeps the names that it has: %s", self._target.server, why)
        self.why = why

    async def bring_about(self, zone: Zone) -> int:
        """One reading and what follows; the number of changes sent."""
        wanted = {name for name, _ in zone.relay_names()}
        reader, writer = await self._connect()
        connection = _Connection(reader, writer, self._target, self._wall)
        try:
            have = await connection.held(wanted | self._written)
            changes = core.differences(zone, have)
            if changes:
                self._remember(wanted | self._written)
            for ident, message in core.updates(self._target.zone, changes, _ids()):
                [answer] = await connection.exchange({ident: message})
                core.check_done(answer, ident)
            self._remember(wanted)
            return len(changes)
        finally:
            writer.close()
            with suppress(OSError, TimeoutError):
                async with asyncio.timeout(PATIENCE):
                    await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        server = self._target.server
        async with asyncio.timeout(PATIENCE):
            return await asyncio.open_connection(str(server.ip), server.port)

    def _remember(self, names: set[bytes]) -> None:
        if names != self._written:
            self._written = names
            save(self._file, sorted(text_of(name) for name in names))


class _Connection:
    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        target: UpdateTarget,
        wall: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._key = target.key
        self._wall = wall

    async def held(self, names: set[bytes]) -> core.Held:
        """What the server has of these names. Raises UpdateFailed unless it answers for every one."""
        have = {}
        ids = _ids()
        keys = core.keys_to_ask(names)
        for at in range(0, len(keys), WINDOW):
            asked = {next(ids): key for key in keys[at : at + WINDOW]}
            queries = {ident: query_bytes(ident, *key) for ident, key in asked.items()}
            for answer in await self.exchange(queries):
                key = asked[answer.id]
                if (found := core.read_held(answer, key, answer.id)) is not None:
                    have[key] = found
        return have

    async def exchange(self, messages: dict[int, bytes]) -> list[Message]:
        """Signs and sends messages by id; their answers in any order, verified, one for each."""
        macs = {}
        for ident, message in messages.items():
            signed, macs[ident] = sign(message, self._key, int(self._wall()))
            self._writer.write(len(signed).to_bytes(2, "big") + signed)
        answers = []
        while macs:
            async with asyncio.timeout(PATIENCE):
                await self._writer.drain()
                size = await self._reader.readexactly(2)
                packet = await self._reader.readexactly(int.from_bytes(size, "big"))
            answer = read_message(packet)
            mac = macs.pop(answer.id, None)
            if mac is None:
                raise UpdateFailed("it answers what was not asked")
            self._verify(packet, answer, mac)
            answers.append(answer)
        return answers

    def _verify(self, packet: bytes, answer: Message, mac: bytes) -> None:
        at = find_tsig(packet)
        if not at:
            raise UpdateFailed(f"it answers unsigned, {core.rcode_text(answer.rcode)}")
        found = read_tsig(packet, at)
        if found.error == BADTIME:
            raise UpdateFailed("its clock and ours differ by minutes")
        if found.error:
            raise UpdateFailed(f"it does not know the key {text_of(self._key.name)} as we do (error {found.error})")
        verify(found, self._key, int(self._wall()), mac)


def _ids() -> Iterator[int]:
    """Ids that differ from their neighbours, from a beginning that nobody can guess."""
    ident = secrets.randbits(16)
    while True:
        yield ident
        ident = (ident + 1) % 0x10000


def _is_name(text: str) -> bool:
    try:
        name_of(text)
    except WireError:
        return False
    return True


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it does not answer"
    if isinstance(error, EOFError):
        return "it closed the connection"
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
