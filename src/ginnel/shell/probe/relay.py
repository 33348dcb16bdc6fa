"""A relay, step by step as a client comes to it: TCP, TLS, the upgrade to DERP, its key, the login.

Room: shell. Source: tailscale: derp/derp_client.go, derp/derphttp/derphttp_client.go.
"""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, replace

from ginnel.core.firewall.evidence import Ending, Evidence, Step
from ginnel.shell.probe.line import Broken, Line
from ginnel.shell.probe.opened import Door, opened
from ginnel.shell.probe.page import PageHead, read_head
from ginnel.wire.derp import FrameReader, ServerInfo, ServerKey, frame, parse
from ginnel.wire.derplogin import Introduction, open_server_info, seal_client_info, upgrade_request
from ginnel.wire.read import Malformed
from ginnel.words import NodeKey, NodePrivate

GREETING_LIMIT = 64 << 10
"""Bytes before the login: a relay's key, its terms and some frames that nobody asked for are far less."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who logs in, and as what."""

    own: NodePrivate
    hello: Introduction


@dataclass(frozen=True, slots=True)
class RelaySeen:
    """evidence: of the last step; done where the relay showed its key. entered: whether it let the caller in.
    seconds: of all steps."""

    evidence: Evidence
    key: NodeKey | None = None
    entered: bool = False
    seconds: float = 0.0


async def look_at_relay(host: str, door: Door, caller: Caller) -> RelaySeen:
    """`host`: as the map names it."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with opened(door) as line:
            seen = await _introduced(host, line, door, caller)
    except Broken as broken:
        seen = RelaySeen(broken.evidence)
    return replace(seen, seconds=loop.time() - began)


async def _introduced(host: str, line: Line, door: Door, caller: Caller) -> RelaySeen:
    rest = await _upgraded(host, line, door)
    async with line.step(Step.KEY, door.patience.step):
        greeting = _Greeting(line, rest)
        key = await greeting.key()
    try:
        async with line.step(Step.LOGIN, door.patience.login):
            await line.send(frame(seal_client_info(caller.own, key, caller.hello, os.urandom(24))))
            await greeting.terms(caller.own, key)
            return RelaySeen(line.evidence(Step.LOGIN, Ending.DONE), key, entered=True)
    except Broken as broken:
        if broken.evidence.ending is Ending.ANSWER:
            return RelaySeen(broken.evidence, key)
        return RelaySeen(line.evidence(Step.KEY, Ending.DONE), key)  # that it wants no strangers is its right


async def _upgraded(host: str, line: Line, door: Door) -> bytes:
    """What follows the 101."""
    async with line.step(Step.UPGRADE, door.patience.step):
        await line.send(upgrade_request(f"[{host}]" if ":" in host else host))
        head = await read_head(line)
        if head.status != 101 or head.fields.get("upgrade", "").lower() != "derp":
            raise Broken(told(line, head))
        return head.rest


def told(line: Line, head: PageHead) -> Evidence:
    """An answer that is HTTP, and not the one that was asked for."""
    evidence = line.evidence(Step.UPGRADE, Ending.ANSWER)
    return replace(evidence, status=head.status, location=head.location, html=head.html)


class _Greeting:
    """Frames of a relay that has not let us in yet."""

    def __init__(self, line: Line, rest: bytes) -> None:
        self._line = line
        self._frames = FrameReader()
        self._waiting = list(self._frames.feed(rest))
        self._count = len(rest)

    async def _next(self) -> object:
        while not self._waiting:
            data = await self._line.receive()
            self._count += len(data)
            if self._count > GREETING_LIMIT:
                raise Malformed(f"more than {GREETING_LIMIT} bytes before the login")
            self._waiting += self._frames.feed(data)
        return parse(*self._waiting.pop(0))

    async def key(self) -> NodeKey:
        message = await self._next()
        if not isinstance(message, ServerKey):
            raise Malformed(f"expected the relay's key, got {type(message).__name__}")
        return message.key

    async def terms(self, own: NodePrivate, key: NodeKey) -> None:
        while not isinstance(message := await self._next(), ServerInfo):
            continue
        open_server_info(own, key, message)
