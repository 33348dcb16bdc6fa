"""One STUN server: asked up to four times from a socket that is connected to it alone, so that ICMP errors are heard.

Room: shell.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress
from dataclasses import dataclass

from ginnel.core.firewall.evidence import RECEIVED_KEPT, Ending, Evidence, Step
from ginnel.shell.node.dial import SO_MARK
from ginnel.shell.probe.trouble import ending_of
from ginnel.wire.read import WireError
from ginnel.wire.stun import binding_request, parse_binding_success
from ginnel.words import Endpoint

TIMES = (0.3, 0.5, 0.8, 1.2)
"""Seconds to wait for the answer to each request: a datagram may get lost."""

READ = 2048
STRAYS = 32
"""Datagrams that are no answer, until nobody believes that one comes."""


@dataclass(frozen=True, slots=True)
class StunSeen:
    """mapped: as the server sees us, None without an answer. seconds: of the request that was answered."""

    evidence: Evidence
    mapped: Endpoint | None = None
    seconds: float = 0.0


async def look_at_stun(
    address: str, port: int, *, mark: int, source_port: int = 0, times: tuple[float, ...] = TIMES
) -> StunSeen:
    """`source_port`: several sockets may share it, as each is connected to another server."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as asking:
            if source_port:
                asking.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                asking.bind(("::" if ":" in address else "0.0.0.0", source_port))  # noqa: S104  (connected below)
            if mark:
                with suppress(PermissionError):
                    asking.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
            asking.connect((address, port))
            return await _asked(asking, times)
    except (OSError, ValueError) as error:
        ending, words = ending_of(error)
        return StunSeen(Evidence(Step.STUN, ending, loop.time() - began, words))


async def _asked(asking: socket.socket, times: tuple[float, ...]) -> StunSeen:
    loop = asyncio.get_running_loop()
    began, sent, strays = loop.time(), dict[bytes, float](), list[bytes]()
    for patience in times:
        transaction = os.urandom(12)
        sent[transaction] = loop.time()
        await loop.sock_sendall(asking, binding_request(transaction))
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                return await _answer(asking, sent, strays)
    ending = Ending.ANSWER if strays else Ending.SILENCE
    came = strays[0][:RECEIVED_KEPT] if strays else b""
    return StunSeen(Evidence(Step.STUN, ending, loop.time() - began, received=came, count=sum(map(len, strays))))


async def _answer(asking: socket.socket, sent: dict[bytes, float], strays: list[bytes]) -> StunSeen:
    loop = asyncio.get_running_loop()
    while True:
        data = await loop.sock_recv(asking, READ)
        with suppress(WireError):
            answer = parse_binding_success(data)
            if answer.transaction_id in sent:
                took = loop.time() - sent[answer.transaction_id]
                return StunSeen(Evidence(Step.STUN, Ending.DONE, took), answer.mapped, took)
        strays.append(data)
        if len(strays) > STRAYS:
            raise TimeoutError
