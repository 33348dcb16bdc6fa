"""DERP inside websocket messages: Python's websockets is the browser."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nacl.bindings import crypto_box_open
from nacl.public import PrivateKey
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as open_websocket
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol

from tests.shell.derp_client import (
    KEEP_ALIVE,
    LIMIT,
    MAGIC,
    PING,
    PONG,
    RECV_PACKET,
    SEND_PACKET,
    SERVER_INFO,
    SERVER_KEY,
    client_info,
    connect,
    frame,
    login,
    tls_context,
)
from tests.shell.relays import KEY, Serve, port


class Browser:
    """A login whose frames come in messages, in any pieces."""

    def __init__(self, socket: ClientConnection, private: bytes) -> None:
        self.socket, self._private = socket, private
        self.key = bytes(PrivateKey(private).public_key)
        self._came = b""

    async def _take(self, size: int) -> bytes:
        async with asyncio.timeout(LIMIT):
            while len(self._came) < size:
                message = await self.socket.recv()
                assert isinstance(message, bytes)
                self._came += message
        taken, self._came = self._came[:size], self._came[size:]
        return taken

    async def expect(self, kind: int) -> bytes:
        while True:
            head = await self._take(5)
            body = await self._take(int.from_bytes(head[1:], "big"))
            if head[0] == kind:
                return body
            assert head[0] == KEEP_ALIVE

    async def log_in(self) -> None:
        assert await self.expect(SERVER_KEY) == MAGIC + KEY
        await self.socket.send(client_info(self._private, KEY))
        sealed = await self.expect(SERVER_INFO)
        assert json.loads(crypto_box_open(sealed[24:], sealed[:24], KEY, self._private)) == {"version": 2}


@asynccontextmanager
async def browser(at: int) -> AsyncIterator[Browser]:
    async with websocket(at) as socket:
        client = Browser(socket, bytes(PrivateKey.generate()))
        await client.log_in()
        yield client


def websocket(at: int, subprotocol: str = "derp") -> open_websocket:
    return open_websocket(
        f"wss://127.0.0.1:{at}/derp",
        ssl=tls_context(),
        subprotocols=[Subprotocol(subprotocol)],
        open_timeout=LIMIT,
        close_timeout=LIMIT,
    )


async def test_a_browser_and_a_plain_client_reach_each_other(serve: Serve) -> None:
    relay = serve()
    at = port(relay)
    async with browser(at) as alice, login(at, KEY) as bob:
        assert alice.socket.subprotocol == "derp"
        assert alice.socket.response is not None
        assert "Sec-WebSocket-Extensions" not in alice.socket.response.headers
        await alice.socket.send(frame(SEND_PACKET, bob.key + b"hello"))
        assert await bob.packet() == (alice.key, b"hello")
        large = os.urandom(65536)
        await bob.send_packet(alice.key, large)
        assert await alice.expect(RECV_PACKET) == bob.key + large
    assert relay.counters()["derp.websocket"] == 1


async def test_messages_may_be_cut_anywhere(serve: Serve) -> None:
    async with browser(port(serve())) as alice:
        data = frame(PING, b"settled1") + frame(0x77, bytes(100)) + frame(PING, b"settled2")
        for at in range(0, len(data), 7):
            await alice.socket.send(data[at : at + 7])
        assert await alice.expect(PONG) == b"settled1"
        assert await alice.expect(PONG) == b"settled2"


async def test_a_message_in_fragments_is_one_stream(serve: Serve) -> None:
    async with browser(port(serve())) as alice:
        data = frame(PING, b"settled!")
        await alice.socket.send([data[:3], data[3:3], data[3:]])
        assert await alice.expect(PONG) == b"settled!"


async def test_websocket_pings_and_the_goodbye_are_answered(serve: Serve) -> None:
    relay = serve()
    async with login(port(relay), KEY) as bob, browser(port(relay)) as alice:
        pong = await alice.socket.ping(b"are you there")
        await asyncio.wait_for(pong, LIMIT)
        await asyncio.wait_for(alice.socket.close(1000), LIMIT)
        assert alice.socket.close_code == 1000
        async with asyncio.timeout(LIMIT):
            while len(relay.clients()) > 1:
                await bob.settle()


async def test_a_member_that_is_one_no_more_is_told_goodbye_in_websocket_terms(serve: Serve) -> None:
    relay = serve(members_only=True)
    private = bytes(PrivateKey.generate())
    public = bytes(PrivateKey(private).public_key)
    relay.set_members([public])
    async with websocket(port(relay)) as socket:
        client = Browser(socket, private)
        await client.log_in()
        relay.remove_member(public)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), LIMIT)
        assert socket.close_code == 1001


BAD = {
    "text": Frame(Opcode.TEXT, b"text").serialize(mask=True),
    "not masked": Frame(Opcode.BINARY, b"data").serialize(mask=False),
    "compressed": b"\xc2\x84" + bytes(4) + b"data",
    "continues nothing": Frame(Opcode.CONT, b"data").serialize(mask=True),
    "zeros": bytes(100),
    "ones": b"\xff" * 100,
}


@pytest.mark.parametrize("words", BAD.values(), ids=BAD)
async def test_what_is_no_binary_message_ends_this_connection_alone(serve: Serve, words: bytes) -> None:
    at = port(serve())
    async with browser(at) as alice, login(at, KEY) as bob:
        alice.socket.transport.write(words)
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(alice.socket.recv(), LIMIT)
        await bob.settle()


async def test_limits_of_the_plain_path_hold_inside_messages(serve: Serve) -> None:
    relay = serve(handshake_timeout=0.3)
    at = port(relay)
    async with browser(at) as alice:
        await alice.socket.send(frame(SEND_PACKET, bytes(32 + 65537))[:5])
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(alice.socket.recv(), LIMIT)
    assert relay.counters()["derp.bad_stream"] == 1
    async with websocket(at) as silent:
        with pytest.raises(ConnectionClosed):
            while True:
                await asyncio.wait_for(silent.recv(), LIMIT)
    assert relay.counters()["door.handshake_late"] == 1


async def test_a_browser_that_never_reads_is_dropped_alone(serve: Serve) -> None:
    relay = serve(write_timeout=0.3)
    at = port(relay)
    async with browser(at) as deaf, login(at, KEY) as bob:
        deaf.socket.transport.pause_reading()
        flood = frame(SEND_PACKET, deaf.key + bytes(1300)) * 50
        async with asyncio.timeout(LIMIT):
            while len(relay.clients()) > 1:
                await bob.send(flood)
                await bob.settle()
        assert relay.counters()["derp.write_timeout"] == 1


async def test_another_subprotocol_is_not_agreed_to(serve: Serve) -> None:
    at = port(serve())
    with pytest.raises(InvalidHandshake):
        async with websocket(at, "chat"):
            pass


async def test_a_client_of_old_asks_for_a_websocket_and_speaks_plain_derp(serve: Serve) -> None:
    async with connect(port(serve()), tls=tls_context()) as raw:
        await raw.send(b"GET /derp HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\nUpgrade: WebSocket\r\n\r\n")
        head = await asyncio.wait_for(raw.reader.readuntil(b"\r\n\r\n"), LIMIT)
        assert head.startswith(b"HTTP/1.1 101 ")
        assert await raw.expect(SERVER_KEY) == MAGIC + KEY
