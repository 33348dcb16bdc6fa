"""Asking a URL whether a node may use the relay (tailscale: derp/derpserver/derpserver.go, tailcfg/derpmap.go).

Room: shell. One POST for each login. No answer is a no, unless the last one was a yes and is fresh, or the relay was
told to be open then.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from ginnel.core.relay.admitted import Admitted
from ginnel.native import Relay
from ginnel.shell.node.dial import DialError, open_streams
from ginnel.shell.node.web import Page, WebError, exchange
from ginnel.shell.relay_settings import RelayError, VerifySettings
from ginnel.words import Instant, NodeKey

log = logging.getLogger("ginnel.relay")
TIMEOUT = 5.0
"""Seconds for a whole question and its answer."""

MAX_ANSWER = 4096
AT_ONCE = 16
"""Questions under way; more wait, and Rust bounds how many those are."""


class NoAnswer(Exception):
    """Why the URL did not say yes or no."""


class _Decision(msgspec.Struct):
    allow: bool = msgspec.field(name="Allow", default=False)


@dataclass(frozen=True, slots=True)
class _Address:
    host: str
    port: int
    target: str
    name: str
    tls: ssl.SSLContext | None


@dataclass(slots=True)
class Verifier:
    """`async with` it: answers the relay's questions meanwhile."""

    settings: VerifySettings
    relay: Relay
    allowed: int = 0
    refused: int = 0
    no_answer: int = 0
    _address: _Address = field(init=False)
    _admitted: Admitted = field(init=False)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _gate: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE))
    _silent: bool = False

    def __post_init__(self) -> None:
        """Raises RelayError."""
        self._address = _address(self.settings)
        self._admitted = Admitted(self.settings.remembered)

    async def __aenter__(self) -> None:
        asyncio.get_running_loop().add_reader(self.relay.questions_fileno(), self._read)

    async def __aexit__(self, *_error: object) -> None:
        asyncio.get_running_loop().remove_reader(self.relay.questions_fileno())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def numbers(self) -> dict[str, float]:
        """How it went, by name."""
        return {
            "verify.allowed": self.allowed,
            "verify.refused": self.refused,
            "verify.no_answer": self.no_answer,
        }

    def _read(self) -> None:
        for number, key, source in self.relay.take_questions():
            task = asyncio.create_task(self._settle(number, NodeKey(key), source))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _settle(self, number: int, key: NodeKey, source: str) -> None:
        async with self._gate:
            self.relay.answer(number, await self.decide(key, source))

    async def decide(self, key: NodeKey, source: str) -> bool:
        """Never raises."""
        loop = asyncio.get_running_loop()
        try:
            allow = await self._ask(key, source)
        except NoAnswer as error:
            self.no_answer += 1
            self._note_silence(error)
            return self.settings.fail_open or self._admitted.lately(key, Instant(loop.time()))
        self._silent = False
        self._admitted.decided(key, allow, Instant(loop.time()))
        self.allowed += allow
        self.refused += not allow
        return allow

    def _note_silence(self, error: NoAnswer) -> None:
        """Once, until an answer comes again: every login would say the same."""
        if not self._silent:
            self._silent = True
            rest = "everybody is let in" if self.settings.fail_open else "only whom it has just let in may log in"
            log.warning("%s did not say who may log in (%s): until it does, %s", self.settings.url, error, rest)

    async def _ask(self, key: NodeKey, source: str) -> bool:
        body = msgspec.json.encode({"NodePublic": str(key), "Source": source})
        try:
            async with asyncio.timeout(TIMEOUT):
                page = await _post(self._address, body)
        except TimeoutError:
            raise NoAnswer(f"no answer within {TIMEOUT:.0f} seconds") from None
        except (DialError, WebError) as error:
            raise NoAnswer(str(error)) from None
        if 500 <= page.status <= 599:
            raise NoAnswer(f"status {page.status}")
        try:
            return page.status == 200 and msgspec.json.decode(page.body, type=_Decision).allow
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise NoAnswer('its answer is not {"Allow":true} or {"Allow":false}') from None


def _address(settings: VerifySettings) -> _Address:
    try:
        parts = urlsplit(settings.url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host or parts.username is not None:
        raise RelayError(f"expected --verify-url as https://host/path, got {settings.url!r}")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not (target.isascii() and target.isprintable() and " " not in target):
        raise RelayError(f"--verify-url: write {settings.url!r} with %-escapes")
    tls = _trust(settings) if parts.scheme == "https" else None
    return _Address(host, port or (443 if tls else 80), target, parts.netloc, tls)


def _trust(settings: VerifySettings) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=str(settings.ca) if settings.ca is not None else None)
    except (OSError, ssl.SSLError) as error:
        raise RelayError(f"cannot use {settings.ca}: {error.strerror}; expected certificates in PEM") from None


async def _post(address: _Address, body: bytes) -> Page:
    """Redirects are not followed: who may decide stands in the settings. Raises DialError or WebError."""
    streams = await open_streams(address.host, address.port, mark=0, tls=address.tls)
    headers = [("Content-Type", "application/json"), ("Connection", "close")]
    try:
        return await exchange(
            streams, "POST", address.target, address.name, headers=headers, body=body, limit=MAX_ANSWER
        )
    finally:
        streams.writer.transport.abort()
