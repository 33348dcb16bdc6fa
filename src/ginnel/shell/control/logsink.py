"""The log host: takes clients' uploads, files them, and shows them to the admin's commands.

Room: shell. What is in an upload, what it may cost and what is kept is decided in `ginnel.core.logs`. All work on files
and all unfolding is done by one thread, one upload at a time, so that neither a slow disk nor a bomb is felt elsewhere.

A client sends a body again until it is answered 200, by itself after 30 to 60 s, or when `Retry-After` says, up to five
minutes. So a node that wrote too much is answered 200 and loses its oldest lines; when nothing can be written, the
answer is 503 with 200 to 300 s, and clients keep what they have in the meantime. A client's next upload begins when the
last is answered, so a busy one is slowed by answers that wait a little: else each line is an upload of its own.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ginnel.core.logs import limits
from ginnel.core.logs.rates import Rates
from ginnel.core.logs.shelf import MICROSECONDS, Space
from ginnel.core.logs.upload import Line, Target, UploadRefused, read_upload, target_of
from ginnel.shell.control.config import LogHostConfig
from ginnel.shell.control.logsink_store import LogFiles, NoRoom
from ginnel.words import Instant, WallTime

log = logging.getLogger("ginnel.logs")
LOG_PATHS = b"/c/"
CLEAN_EVERY = 600.0
CLAIMS_AGE = 5.0
T = TypeVar("T")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

Claims = Mapping[str, Sequence[str]]
"""Public log id -> the names of the nodes that say it is theirs."""


class _Refuse(Exception):
    def __init__(self, status: int, reason: str, retry: tuple[int, int] = limits.RETRY_LATE) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.retry = retry


@dataclass(frozen=True, slots=True)
class Frame:
    """Lines that came in one upload. `stamp`: microseconds since 1970, different for each."""

    stamp: int
    log_id: str
    lines: list[Line]


class LogHost:
    """Made by `open_log_host`; close it with `close`."""

    def __init__(
        self, config: LogHostConfig, directory: Path, claims: Callable[[], Claims], source_of: Callable[[str], str]
    ) -> None:
        self.config = config
        self.refused: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()
        self._names = frozenset(name.strip(".").lower() for name in config.names)
        self._claims_now = claims
        self._claims: tuple[float, Claims] = (0.0, {})
        self._source_of = source_of
        self._rates = Rates(limits.RATE, limits.BURST)
        self._paces = Rates(limits.PACE, limits.PACE_BURST)
        self._unfinished: Counter[str] = Counter()
        self._thread = ThreadPoolExecutor(1, "logs")
        self._files = LogFiles(directory, space_of(config), self._known)
        self._news = asyncio.Event()
        self._followers = 0
        self._full = ""
        self._closed = False

    def open(self) -> None:
        """Raises OSError."""
        self.claims()
        self._files.open(_wall())

    async def run(self) -> None:
        """What has become too old goes. Ends when cancelled."""
        while True:
            await asyncio.sleep(CLEAN_EVERY)
            self.claims()
            try:
                await self._in_thread(lambda: self._files.clean(_wall()))
            except Exception:  # what befalls logs must not end the server
                log.exception("old logs stay for now")

    def close(self) -> None:
        """What is being written is written."""
        self._closed = True
        self._thread.shutdown()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._closed:
            raise _Refuse(503, "the server is stopping", limits.RETRY_SOON)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def claims(self) -> Claims:
        """Looked up now and then: a node's own word decides only whose lines go first when all is full."""
        now = time.monotonic()
        if not self._claims[0] or now - self._claims[0] > CLAIMS_AGE:
            self._claims = now, self._claims_now()
        return self._claims[1]

    def _known(self) -> Set[str]:
        return self._claims[1].keys()

    def has_from(self, log_id: str) -> bool:
        """Whether lines of this id are kept: who sends them here does not send them elsewhere."""
        return log_id in self._files.shelf.rows

    # --- uploads ---------------------------------------------------------------------------------------------

    def route(self) -> Route:
        return Route("/c/{rest:path}", self._answer, methods=list(METHODS))

    async def _answer(self, request: Request) -> Response:
        if _host(request) not in self._names:
            return _text(404, "not found")
        try:
            await self._take(request)
        except (_Refuse, UploadRefused) as refusal:
            self.refused[refusal.reason] += 1
            retry = getattr(refusal, "retry", limits.RETRY_LATE)
            wait = str(random.randint(*retry))  # noqa: S311
            return _text(refusal.status, refusal.reason, {"retry-after": wait, "connection": "close"})
        return Response()

    async def _take(self, request: Request) -> None:
        target = target_of(request.scope["path"])
        if target is None:
            raise _Refuse(404, "not a log's path")
        if request.method != "POST":
            raise _Refuse(405, "logs are uploaded by POST")
        source = self._source_of(request.client.host if request.client is not None else "")
        if not self._rates.admits(source, _now()):
            raise _Refuse(429, "too many uploads", limits.RETRY_SOON)
        held = _Held(self._unfinished, source)
        try:
            body = await self._body(request, held)
            self.claims()  # the thread may not look at the registry itself
            encoding = request.headers.get("content-encoding", "").strip().lower()
            size = await self._in_thread(lambda: self._keep(target, body, encoding))
        finally:
            held.release()
        self._rates.charge(source, size, _now())
        self._tell()
        await asyncio.sleep(min(limits.MAX_PAUSE, self._paces.pause(target.log_id, _now())))

    async def _body(self, request: Request, held: _Held) -> bytes:
        said = request.headers.get("content-length", "0")
        if said.isascii() and said.isdigit() and int(said[:20]) > limits.MAX_BODY:
            raise _Refuse(413, "body too large")
        pieces = bytearray()
        try:
            async with asyncio.timeout(limits.BODY_TIMEOUT):
                async for piece in request.stream():
                    held.take(len(piece))
                    pieces += piece
                    if len(pieces) > limits.MAX_BODY:
                        raise _Refuse(413, "body too large")
        except TimeoutError:
            raise _Refuse(408, "slow body") from None
        except ClientDisconnect:
            raise _Refuse(400, "body cut short") from None
        return bytes(pieces)

    def _keep(self, target: Target, body: bytes, encoding: str) -> int:
        lines, size = read_upload(body, encoding, target.collection)
        try:
            if lines:
                self._files.append(target.log_id, lines, _wall())
        except NoRoom as error:
            if not self._full:
                log.error("logs are not taken, all else goes on: %s", error)
            self._full = str(error)
            raise _Refuse(503, "no room on the disk") from None
        if self._full:
            log.warning("logs are taken again")
            self._full = ""
        self.taken["uploads"] += 1
        self.taken["lines"] += len(lines)
        return size

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    # --- reading ---------------------------------------------------------------------------------------------

    async def page(self, after: int, log_ids: Sequence[str] | None, wait: float) -> list[Frame]:
        """Frames behind the stamp `after`, until a page is full; with none yet, `wait` seconds for one to come."""
        news = self._news
        frames = await self._in_thread(lambda: self._page(after, log_ids))
        if frames or wait <= 0:
            return frames
        if self._followers >= limits.MAX_FOLLOWERS:
            raise TooManyFollowers
        self._followers += 1
        try:
            async with asyncio.timeout(min(wait, limits.MAX_WAIT)):
                while not frames:
                    await news.wait()
                    news = self._news
                    frames = await self._in_thread(lambda: self._page(after, log_ids))
        except TimeoutError:
            pass
        finally:
            self._followers -= 1
        return frames

    def _page(self, after: int, log_ids: Sequence[str] | None) -> list[Frame]:
        frames, size = [], 0
        for stamp, log_id, lines in self._files.read(after, log_ids):
            frames.append(Frame(stamp, log_id, lines))
            size += sum(len(line.text) + len(line.metrics) + 100 for line in lines)
            if size >= limits.PAGE_SIZE:
                break
        return frames

    async def rows(self) -> list[tuple[str, int, int, int]]:
        """(id, bytes, first and last stamp) of each id."""
        return await self._in_thread(self._rows)

    def _rows(self) -> list[tuple[str, int, int, int]]:
        shelf = self._files.shelf
        return [(log_id, shelf.used[log_id], row[0].begun, row[-1].ended) for log_id, row in shelf.rows.items()]

    @property
    def used(self) -> int:
        return self._files.shelf.total

    @property
    def problem(self) -> str:
        return self._full


class TooManyFollowers(Exception):
    pass


class _Held:
    """Bytes of one body that are in memory."""

    def __init__(self, all_bytes: Counter[str], source: str) -> None:
        self._all, self._source, self._size = all_bytes, source, 0

    def take(self, size: int) -> None:
        self._all[self._source] += size
        self._size += size
        if self._all[self._source] > limits.MAX_UNFINISHED_PER_SOURCE or self._all.total() > limits.MAX_UNFINISHED:
            raise _Refuse(503, "too many bodies at once", limits.RETRY_SOON)

    def release(self) -> None:
        self._all[self._source] -= self._size
        if self._all[self._source] <= 0:
            del self._all[self._source]


def space_of(config: LogHostConfig) -> Space:
    return Space(config.retention_days * 86400, config.max_mib * limits.MIB, config.per_node_mib * limits.MIB)


def stamp_of(wall: float) -> int:
    return int(wall * MICROSECONDS)


def _host(request: Request) -> str:
    host = request.headers.get("host", "").lower()
    name = host[: host.find("]") + 1] if host.startswith("[") else host.partition(":")[0]
    return name.strip("[].")


def _text(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    return PlainTextResponse(text + "\n", status_code=status, headers=headers)


def _wall() -> WallTime:
    return WallTime(time.time())


def _now() -> Instant:
    return Instant(time.monotonic())
