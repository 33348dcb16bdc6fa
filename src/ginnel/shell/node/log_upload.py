"""The daemon's log, uploaded to the log host that it was told of; to none otherwise.

Room: shell. What is logged goes on to stderr all the same; whatever becomes of the log host, nothing else is changed.
The log's private id is a file of its own in the state directory.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import ssl
import stat
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ginnel.core.logs import limits
from ginnel.core.logs.upload import public_id
from ginnel.core.logs.uploader import COLLECTION, Upload, Uploader
from ginnel.core.node.routing import MARK
from ginnel.shell.node.dial import PIN, DialError, Streams, is_pinned, open_streams, unverified
from ginnel.shell.node.host_finder import HostFinder
from ginnel.shell.node.web import Page, WebError, exchange
from ginnel.words import KEY_SIZE, Instant, WallTime, clamp

log = logging.getLogger(__name__)
FILE = "ginneld.log-id"
LAST_WORDS = 2.0
"""Seconds that the daemon waits at its end for what it has to say."""


class BadTarget(ValueError):
    """One line for people."""


def check_target(url: str) -> tuple[str, int]:
    """The host and port of `https://host[:port]`. Raises BadTarget."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme != "https" or not host or parts.path.strip("/") or parts.query or parts.username:
        raise BadTarget(f"--log-target {url!r}: expected https://HOST or https://HOST:PORT")
    return host, port or 443


class LogUpload:
    """`pins`: SHA-256 of certificates that the coordination server vouches for, asked at each connection; `finder`:
    where the log host is."""

    def __init__(self, target: str, private_id: bytes) -> None:
        self._host, self._port = check_target(target)
        self._netloc = urlsplit(target).netloc
        self._private = private_id
        self.public_id = public_id(private_id)
        self.pins: Callable[[], frozenset[str]] = frozenset
        self.finder = HostFinder()
        self.disabled = False
        self.problem = ""
        self._core = Uploader(os.getpid(), random.random)
        self._handler = _Handler(self._wake)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._moved = asyncio.Event()

    def __repr__(self) -> str:
        return f"LogUpload({self._netloc!r}, {self.public_id!r})"

    def hostinfo(self) -> dict[str, Any]:
        """What the coordination server is told: whose lines these are."""
        return {} if self.disabled else {"BackendLogID": self.public_id, "NoLogsNoSupport": False}

    def disable(self) -> None:
        """The coordination server wants no logs of this process."""
        if not self.disabled:
            log.info("the coordination server turned log uploads off, until ginneld starts again")
            self.disabled = True
            logging.getLogger().removeHandler(self._handler)
            self._core.disable()
            self._moved.set()

    def listen(self) -> None:
        """From here on lines are gathered; `run` uploads them."""
        logging.getLogger().addHandler(self._handler)

    async def run(self) -> None:
        """Upload until cancelled, and once more then."""
        self._loop = asyncio.get_running_loop()
        try:
            while not self.disabled:
                await self._step()
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_WORDS):
                    await self._say_goodbye()
            raise
        finally:
            logging.getLogger().removeHandler(self._handler)

    async def _step(self) -> None:
        self._moved.clear()
        self._gather()
        upload = self._core.tick(_now(), _wall())
        if upload is not None:
            await self._send(upload)
            return
        at = self._core.next_timeout()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(at):
                await self._moved.wait()

    async def _say_goodbye(self) -> None:
        self._gather()
        upload = None if self.problem else self._core.tick(Instant(_now() + limits.FLUSH_AFTER), _wall())
        if upload is not None:
            await self._send(upload)

    def _gather(self) -> None:
        lines, lost = self._handler.take()
        self._core.lost(lost)
        for wall, text in lines:
            self._core.line(text, wall, _now())

    def _wake(self) -> None:
        if self._loop is not None:
            with suppress(RuntimeError):  # a line of another thread, after the loop has ended
                self._loop.call_soon_threadsafe(self._moved.set)

    # --- sending ---------------------------------------------------------------------------------------------

    async def _send(self, upload: Upload) -> None:
        try:
            async with asyncio.timeout(limits.UPLOAD_TIMEOUT):
                page = await self._post(upload)
        except TimeoutError:
            self._failed("it does not answer")
        except (DialError, WebError) as error:
            self._failed(str(error))
        else:
            self._answered(page)

    async def _post(self, upload: Upload) -> Page:
        streams = await self.finder.reach(self._host, self._connect, (DialError,))
        headers = [("Connection", "close")]
        if upload.encoding:
            headers += [("Content-Encoding", upload.encoding), ("Orig-Content-Length", str(upload.size))]
        target = f"/c/{COLLECTION}/{self._private.hex()}"
        try:
            return await exchange(streams, "POST", target, self._netloc, headers=headers, body=upload.body)
        finally:
            streams.writer.close()

    async def _connect(self, addresses: Sequence[str]) -> Streams:
        """By a certificate that the coordination server vouches for, else by one that the system trusts."""
        pins, dialled = self.pins(), [(ip, self._port) for ip in addresses]
        if pins:
            streams = await open_streams(self._host, self._port, mark=MARK, tls=unverified(), addresses=dialled)
            if any(is_pinned(streams, PIN + pin) for pin in pins):
                return streams
            streams.writer.close()
        context = ssl.create_default_context()
        return await open_streams(self._host, self._port, mark=MARK, tls=context, addresses=dialled)

    def _answered(self, page: Page) -> None:
        if page.status == 200:
            if self.problem:
                log.info("log uploads go on")
            self.problem = ""
            self._core.taken(_now())
            return
        wait = page.headers.get("retry-after", "")
        retry = float(wait) if wait.isascii() and wait.isdigit() and len(wait) < 9 else 0.0
        self._failed(f"it answered {page.status}", page.status, retry)

    def _failed(self, why: str, status: int = 0, retry_after: float = 0.0) -> None:
        if why != self.problem:
            log.info("the log host %s takes no uploads, they wait: %s", self._netloc, why)
        self.problem = why
        self._core.failed(_now(), status, retry_after)


class _Handler(logging.Handler):
    """Lines of any thread, until the loop takes them."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__(logging.INFO)
        self.setFormatter(logging.Formatter("%(levelname).1s %(name)s: %(message)s"))
        self._wake = wake
        self._lines: deque[tuple[WallTime, str]] = deque()
        self._lost = 0
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)[: 2 * limits.MAX_TEXT]
        except Exception:  # noqa: BLE001
            self.handleError(record)
            return
        with self._guard:
            if len(self._lines) >= limits.MAX_WAITING_LINES:
                self._lines.popleft()
                self._lost += 1
            self._lines.append((WallTime(record.created), text))
        self._wake()

    def take(self) -> tuple[list[tuple[WallTime, str]], int]:
        with self._guard:
            lines, lost = list(self._lines), self._lost
            self._lines.clear()
            self._lost = 0
        return lines, lost


def private_id(directory: Path) -> bytes:
    """The log's own secret, made where there is none: who has it can add to this log, and do nothing else. A file that
    is not as we made it is replaced. Raises OSError."""
    path = directory / FILE
    with suppress(OSError, ValueError):
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            found = os.fstat(descriptor)
            raw = bytes.fromhex(file.read(2 * KEY_SIZE + 1).decode("ascii").strip())
            own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
            if own and len(raw) == KEY_SIZE:
                return raw
    raw = clamp(os.urandom(KEY_SIZE))
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(raw.hex() + "\n")
    return raw


def _now() -> Instant:
    return Instant(asyncio.get_running_loop().time())


def _wall() -> WallTime:
    return WallTime(time.time())
