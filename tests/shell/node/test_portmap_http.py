"""A router's HTTP, from the worst of routers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address

import pytest

from ginnel.core.node.portmap.actions import FetchPortmap
from ginnel.shell.node import portmap_http
from ginnel.shell.node.portmap_http import fetch
from ginnel.wire.upnp import SoapRequest

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
HERE = IPv4Address("127.0.0.1")


@asynccontextmanager
async def router(handler: Handler) -> AsyncIterator[int]:
    over: list[asyncio.Event] = []

    async def handled(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        over.append(asyncio.Event())
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            await handler(reader, writer)
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        over[-1].set()

    async with await asyncio.start_server(handled, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        async with asyncio.timeout(5):
            for each in over:
                await each.wait()


def saying(answer: bytes, heard: list[bytes] | None = None) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        size = next((int(line[15:]) for line in head.splitlines() if line.lower().startswith(b"content-length")), 0)
        if heard is not None:
            heard.append(head + await reader.readexactly(size))
        writer.write(answer)
        await writer.drain()

    return handle


async def got(handler: Handler, path: str = "/root.xml", soap: SoapRequest | None = None) -> tuple[int, bytes]:
    async with router(handler) as port:
        return await fetch(FetchPortmap(1, HERE, port, path, soap), mark=0)


async def test_a_description_is_fetched() -> None:
    heard: list[bytes] = []
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n<root/>"
    assert await got(saying(answer, heard)) == (200, b"<root/>")
    assert heard[0].startswith(b"GET /root.xml HTTP/1.1\r\nHost: 127.0.0.1:")


async def test_an_action_is_posted_with_its_name_and_length_and_a_fault_has_a_body() -> None:
    heard: list[bytes] = []
    answer = b"HTTP/1.0 500 Internal Server Error\r\n\r\n<fault/>"
    request = SoapRequest('"urn:x#Do"', b"<envelope/>")
    assert await got(saying(answer, heard), "/ctl", request) == (500, b"<fault/>")
    assert b'\r\nSOAPAction: "urn:x#Do"\r\n' in heard[0]
    assert heard[0].endswith(b"\r\n\r\n<envelope/>")


async def test_a_redirect_is_an_answer_and_not_followed() -> None:
    elsewhere: list[bytes] = []
    async with router(saying(b"", elsewhere)) as port:
        answer = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/\r\nContent-Length: 0\r\n\r\n"
        assert await got(saying(answer.encode())) == (302, b"")
    assert elsewhere == []


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"fff\r\n" + b"x" * 4095 + b"\r\n" * 40,
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000,
        b"\x16\x03\x01 this is no HTTP",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"",
    ],
    ids=["long", "chunked", "header", "noise", "short", "nothing"],
)
async def test_too_long_or_broken_an_answer_is_none(answer: bytes) -> None:
    assert await got(saying(answer)) == (0, b"")


async def test_a_router_that_takes_its_time_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(portmap_http, "FETCH_TIME", 0.05)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n")
        await reader.read()

    assert await got(drip) == (0, b"")


async def test_nobody_there_is_no_answer() -> None:
    async with router(saying(b"")) as port:
        pass
    assert await fetch(FetchPortmap(1, HERE, port, "/"), mark=0) == (0, b"")
