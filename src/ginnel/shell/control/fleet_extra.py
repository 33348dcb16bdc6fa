"""DERP maps from elsewhere, by file or URL: looked at now and then, and the last good one kept when that fails.

Room: shell.
"""

from __future__ import annotations

import asyncio
import hashlib
import http
import logging
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ginnel.shell.node.web import WebError, fetch
from ginnel.wire.derpmap import problems
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap, decode

log = logging.getLogger("ginnel.control.fleet")
FETCH_TIME = 20.0
MAX_MAP = 1 << 20
FILE_CHECK = 10.0
"""Seconds between two looks at a file, which cost nothing."""


class ExtraError(Exception):
    """One line."""


@dataclass(slots=True)
class Extra:
    """One source. `last`: the last good map."""

    source: str
    last: DERPMap | None = None
    etag: str = ""
    error: str = ""
    body: bytes = field(default=b"", repr=False)


class ExtraMaps:
    """`changed` is called when a map is another than before. `state`: where last good ones outlive a restart."""

    def __init__(self, sources: Sequence[str], refresh: float, state: Path, changed: Callable[[], None]) -> None:
        self.extras = [Extra(source) for source in sources]
        self._refresh = refresh
        self._state = state
        self._changed = changed

    @property
    def maps(self) -> list[DERPMap]:
        return [extra.last for extra in self.extras if extra.last is not None]

    def load(self) -> None:
        """What was kept of URLs, and files as they are now."""
        for extra in self.extras:
            try:
                _take(extra, (self._kept(extra.source) if _is_url(extra.source) else Path(extra.source)).read_bytes())
            except (OSError, ExtraError) as error:
                extra.error = "not read yet" if _is_url(extra.source) else str(error)
                if not _is_url(extra.source):
                    log.error("the DERP map %s is not used: %s", extra.source, error)

    async def run(self) -> None:
        """Ends when cancelled."""
        await asyncio.gather(*(self._follow(extra) for extra in self.extras))

    async def _follow(self, extra: Extra) -> None:
        while True:
            await self.look(extra)
            await asyncio.sleep(self._refresh if _is_url(extra.source) else min(FILE_CHECK, self._refresh))

    async def look(self, extra: Extra) -> None:
        """Once. An error keeps the last good map (an error is never an empty map)."""
        before = extra.last
        try:
            body, etag = await _fetch(extra) if _is_url(extra.source) else (await _read(extra.source), "")
            if body is not None and body != extra.body:
                _take(extra, body)
                if _is_url(extra.source):
                    await asyncio.to_thread(self._keep, extra.source, body)
            extra.etag = etag  # of a map that is used: else a 304 would make its fault forgotten
        except (OSError, ExtraError, WebError, TimeoutError) as error:
            why = str(error) or type(error).__name__
            if why != extra.error:
                log.error("the DERP map %s cannot be read, the last good one stays: %s", extra.source, why)
            extra.error = why
            return
        extra.error = ""
        if extra.last != before:
            self._changed()

    def _kept(self, source: str) -> Path:
        return self._state / f"extra-{hashlib.sha256(source.encode()).hexdigest()[:16]}.json"

    def _keep(self, source: str, body: bytes) -> None:
        path = self._kept(source)
        draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(body)
        draft.replace(path)


def _is_url(source: str) -> bool:
    return source.startswith(("http://", "https://"))


async def _read(source: str) -> bytes:
    def read() -> bytes:
        with Path(source).open("rb") as file:
            return file.read(MAX_MAP + 1)

    body = await asyncio.to_thread(read)
    if len(body) > MAX_MAP:
        raise ExtraError(f"it is larger than {MAX_MAP} bytes")
    return body


async def _fetch(extra: Extra) -> tuple[bytes | None, str]:
    """The body and its ETag. None: it is the same as before. Raises ExtraError, WebError."""
    headers = [("If-None-Match", extra.etag)] if extra.etag and extra.last is not None else []
    async with asyncio.timeout(FETCH_TIME):
        page = await fetch("GET", extra.source, mark=0, headers=headers, limit=MAX_MAP)
    if page.status == http.HTTPStatus.NOT_MODIFIED:
        return None, extra.etag
    if page.status != http.HTTPStatus.OK:
        raise ExtraError(f"HTTP {page.status}")
    return page.body, page.headers.get("etag", "")


def _take(extra: Extra, body: bytes) -> None:
    """Raises ExtraError."""
    try:
        found = decode(DERPMap, body)
    except WireError as error:
        raise ExtraError(f"it is no DERP map: {error}") from None
    wrong = problems(found)
    if wrong:
        raise ExtraError(f"{wrong[0]}" + (f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""))
    if not found.regions:
        raise ExtraError("it has no regions")
    extra.last, extra.body = found, body
