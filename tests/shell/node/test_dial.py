"""Connections that end before they are used leave nothing behind them in the loop."""

from __future__ import annotations

import asyncio
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ginnel.shell.node.dial import DialError, open_streams, unverified
from tests.shell.probe.strangers import Authority, serving, silent, stranger
from tests.shell.probe.test_relay import authority

__all__ = ["authority"]
AT_ONCE = 24


class Shaken(ssl.SSLObject):
    """Its handshake stands, and in that very turn of the loop the time of whoever waits for it is over."""

    def do_handshake(self) -> None:
        super().do_handshake()
        asyncio.get_running_loop().call_soon(waiting[0].cancel)


waiting: list[asyncio.Task[Any]] = []


async def cancelled_as_tls_stands(at: int) -> None:
    context = unverified()
    context.sslobject_class = Shaken
    waiting[:] = [asyncio.create_task(open_streams("127.0.0.1", at, mark=0, tls=context))]
    with pytest.raises(asyncio.CancelledError):
        await waiting[0]


async def test_a_descriptor_is_not_given_back_while_tls_still_polls_it(authority: Authority, tmp_path: Path) -> None:
    """The number would come back as that of the next socket, which the loop then refuses: "is used by transport"."""
    loop = asyncio.get_running_loop()
    async with stranger(silent, serving(tmp_path, authority.leaf("relay.example"))) as at:
        await cancelled_as_tls_stands(at)
        made = [socket.socket() for _ in range(AT_ONCE)]
        try:
            for one in made:
                one.setblocking(False)
                await loop.sock_connect(one, ("127.0.0.1", at))
        finally:
            for one in made:
                one.close()


async def test_a_server_that_does_not_end_tls_is_not_waited_for(authority: Authority, tmp_path: Path) -> None:
    """The connection that nobody wants any more is gone after a moment, not after asyncio's 30 s."""
    gone = asyncio.Event()
    context = serving(tmp_path, authority.leaf("relay.example"))

    async def without_farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(came, out, server_side=True)
        while data := await reader.read(4096):
            came.write(data)
            with suppress(ssl.SSLWantReadError):
                tls.do_handshake()
            writer.write(out.read())
        gone.set()

    async with stranger(without_farewell) as at:
        await cancelled_as_tls_stands(at)
        async with asyncio.timeout(10):
            await gone.wait()


async def test_a_name_that_tls_cannot_carry_is_told_in_one_line(authority: Authority, tmp_path: Path) -> None:
    async with stranger(silent, serving(tmp_path, authority.leaf("relay.example"))) as at:
        with pytest.raises(DialError, match=r"\.example"):
            await open_streams("127.0.0.1", at, mark=0, tls=unverified(), server_name=".example")
