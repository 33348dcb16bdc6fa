"""The splice to the server behind, when either side ends in its own way."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from tests.shell.derp_client import LIMIT, connect, tls_context
from tests.shell.relays import Serve, port

ANSWER = b"HTTP/1.1 413 Content Too Large\r\nConnection: close\r\n\r\n" + bytes(200_000)
Behind = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def spliced(serve: Serve, tmp_path: Path, behind: Behind) -> AsyncIterator[dict[str, int]]:
    async with await asyncio.start_unix_server(behind, tmp_path / "behind"):
        relay = serve(splice=str(tmp_path / "behind"))
        yield {kind: port(relay, kind) for kind in ("tls", "http")}


@pytest.mark.parametrize("by_tls", [True, False], ids=["tls", "port 80"])
async def test_an_answer_given_before_the_whole_question_arrives(serve: Serve, tmp_path: Path, by_tls: bool) -> None:
    async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        writer.close()  # with most of the question unread

    async with (
        spliced(serve, tmp_path, behind) as at,
        connect(at["tls" if by_tls else "http"], tls=tls_context() if by_tls else None) as raw,
    ):
        raw.writer.write(b"POST /upload HTTP/1.1\r\nContent-Length: 500000\r\n\r\n" + bytes(500_000))
        async with asyncio.timeout(LIMIT):
            assert await raw.reader.readexactly(len(ANSWER)) == ANSWER


async def test_a_question_that_comes_in_one_flight_with_the_goodbye_is_answered(serve: Serve, tmp_path: Path) -> None:
    async def behind(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + question[-4:])
        writer.close()

    async with spliced(serve, tmp_path, behind) as at:
        for path, wanted in ((b"/robots.txt", b"Disallow: /\n"), (b"/elsewhere", b"\r\n\r\n\r\n\r\n")):
            answer = await _ask_and_say_goodbye(at["tls"], b"GET " + path + b" HTTP/1.1\r\n\r\n")
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(wanted)


async def _ask_and_say_goodbye(at: int, question: bytes) -> bytes:
    came, goes = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = tls_context().wrap_bio(came, goes)
    async with connect(at, tls=None) as raw, asyncio.timeout(LIMIT):
        while not _shaken(tls):
            await raw.send(goes.read())
            came.write(await raw.reader.read(65536))
        tls.write(question)
        with suppress(ssl.SSLWantReadError):
            tls.unwrap()
        await raw.send(goes.read())
        return _decrypted(tls, came, await raw.reader.read(-1))


def _shaken(tls: ssl.SSLObject) -> bool:
    try:
        tls.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def _decrypted(tls: ssl.SSLObject, came: ssl.MemoryBIO, data: bytes) -> bytes:
    """What was said up to the relay's own goodbye, without which an end could be a stranger's."""
    came.write(data)
    answer = b""
    with pytest.raises(ssl.SSLZeroReturnError):
        while True:
            answer += tls.read(65536)
    return answer
