"""Logins that a URL decides: our own server's, and servers that answer badly or not at all."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from nacl.public import PrivateKey

from ginnel.native import Relay
from ginnel.shell import relay_verify
from ginnel.shell.relay_settings import RelayError, VerifySettings
from ginnel.shell.relay_verify import MAX_ANSWER, Verifier
from ginnel.words import NodeKey
from tests.shell.control.control_client import Client as Node
from tests.shell.control.control_client import auth_key, running
from tests.shell.derp_client import LIMIT, UPGRADE, client_info, connect, login, tls_context
from tests.shell.relays import KEY, Serve, port

ALICE = bytes(PrivateKey.generate())
ALICE_KEY = NodeKey(bytes(PrivateKey(ALICE).public_key))
ONLY_ITS_KEY = 5 + 8 + 32
"""What comes before the relay has decided: a frame with magic and key."""

Answer = Callable[[bytes], Awaitable[bytes]]


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> AsyncIterator[int]:
    """Gives the port. Its connections end before the block does."""
    busy: set[asyncio.Task[None]] = set()

    async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        busy.add(task)
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await serve(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async with await asyncio.start_server(one, "127.0.0.1", 0) as server:
        yield int(server.sockets[0].getsockname()[1])
        await asyncio.wait_for(asyncio.gather(*busy), LIMIT)


@asynccontextmanager
async def decider(answer: Answer) -> AsyncIterator[str]:
    """A server that gives what `answer` makes of a request's body. Gives its URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"POST /verify?tailnet=1 HTTP/1.1\r\n")
        [length] = [line.split(b":")[1] for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        writer.write(await answer(await reader.readexactly(int(length))))

    async with listening(serve) as at:
        yield f"http://127.0.0.1:{at}/verify?tailnet=1"


def reply(body: bytes, status: str = "200 OK") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


async def refused(relay: Relay) -> bool:
    """Try to log in as Alice."""
    async with connect(port(relay), tls=tls_context()) as raw:
        await raw.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + client_info(ALICE, KEY))
        return len(await raw.all()) == ONLY_ITS_KEY


async def test_a_yes_lets_in_and_a_no_does_not_and_the_url_learns_who_asks(serve: Serve) -> None:
    asked: list[dict[str, str]] = []

    async def answer(body: bytes) -> bytes:
        asked.append(json.loads(body))
        return reply(json.dumps({"Allow": asked[-1]["NodePublic"] == str(ALICE_KEY)}).encode())

    relay = serve(ask_before_login=True)
    async with decider(answer) as url, Verifier(VerifySettings(url), relay) as _:
        async with login(port(relay), KEY, private=ALICE) as alice:
            await alice.settle()
        async with connect(port(relay), tls=tls_context()) as raw:
            await raw.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + client_info(bytes(PrivateKey.generate()), KEY))
            assert len(await raw.all()) == ONLY_ITS_KEY
    assert asked[0] == {"NodePublic": str(ALICE_KEY), "Source": "127.0.0.1"}
    assert relay.counters()["derp.not_verified"] == 1


async def test_nobody_waits_for_an_answer_longer_than_for_a_handshake(serve: Serve) -> None:
    relay = serve(ask_before_login=True, handshake_timeout=0.2)  # and nobody answers
    assert await refused(relay)
    assert relay.counters()["derp.verify_late"] == 1
    assert relay.take_questions() == []


BAD = {
    "status 500": reply(b'{"Allow":true}', "500 Internal Server Error"),
    "no JSON": reply(b"yes"),
    "wrong type": reply(b'{"Allow":"true"}'),
    "too long": reply(b" " * MAX_ANSWER + b'{"Allow":true}'),
    "cut short": reply(b'{"Allow":true}')[:-3],
    "no HTTP": b"\x00" * 64,
    "nothing": b"",
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 10_000,
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_no_answer_is_a_no_unless_the_last_one_was_a_yes(
    serve: Serve, bad: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    answers = [bad, reply(b'{"Allow":true}'), bad, bad, reply(b'{"Allow":false}'), bad]

    async def answer(_body: bytes) -> bytes:
        return answers.pop(0)

    async with decider(answer) as url:
        verifier = Verifier(VerifySettings(url), serve())
        with caplog.at_level(logging.WARNING, "ginnel.relay"):
            found = [await verifier.decide(ALICE_KEY, "192.0.2.1") for _ in range(6)]
    assert found == [False, True, True, True, False, False]
    assert verifier.numbers() == {"verify.allowed": 1, "verify.refused": 1, "verify.no_answer": 4}
    said = [record.getMessage() for record in caplog.records if record.name == "ginnel.relay"]
    assert len(said) == 3  # once for each silence
    assert all("\n" not in line and "only whom it has just let in may log in" in line for line in said)


async def test_other_statuses_are_a_no_whatever_the_body_says(serve: Serve) -> None:
    for status in ("403 Forbidden", "302 Found", "204 No Content", "201 Created"):

        async def answer(_body: bytes, status: str = status) -> bytes:
            return reply(b'{"Allow":true}' if not status.startswith("204") else b"", status)

        async with decider(answer) as url:
            assert not await Verifier(VerifySettings(url, fail_open=True), serve()).decide(ALICE_KEY, "192.0.2.1")


async def test_it_is_open_without_an_answer_only_where_it_was_told_to_be(serve: Serve) -> None:
    async def answer(_body: bytes) -> bytes:
        return b""

    async with decider(answer) as url:
        assert await Verifier(VerifySettings(url, fail_open=True), serve()).decide(ALICE_KEY, "192.0.2.1")
        forgetful = Verifier(VerifySettings(url, remembered=0.0), serve())
        assert not await forgetful.decide(ALICE_KEY, "192.0.2.1")
    nobody = Verifier(VerifySettings("http://127.0.0.1:1/verify"), serve())
    assert not await nobody.decide(ALICE_KEY, "192.0.2.1")


async def test_a_byte_now_and_then_does_not_stretch_the_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay_verify, "TIMEOUT", 0.2)

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:  # until the other side has enough
            writer.write(b"H")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with asyncio.timeout(LIMIT), listening(drip) as at:
        assert not await Verifier(VerifySettings(f"http://127.0.0.1:{at}/"), serve()).decide(ALICE_KEY, "192.0.2.1")


@pytest.mark.parametrize("url", ["ftp://a/", "http:///x", "https://a:b/", "http://u:p@a/", "http://a/ b"])
def test_what_is_no_url_is_refused_at_the_start(serve: Serve, url: str) -> None:
    with pytest.raises(RelayError, match="--verify-url"):
        Verifier(VerifySettings(url), serve())


async def test_a_relay_elsewhere_asks_our_own_server(serve: Serve, tmp_path: Path) -> None:
    relay = serve(ask_before_login=True)
    async with running(tmp_path) as server, Node(server) as node:
        url = f"http://127.0.0.1:{server.plain_ports()[0]}/verify"
        async with Verifier(VerifySettings(url), relay):
            private = node.key.raw
            async with connect(port(relay), tls=tls_context()) as raw:
                await raw.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n" + client_info(private, KEY))
                assert len(await raw.all()) == ONLY_ITS_KEY
            assert (await node.register(await auth_key(server)))["Error"] == ""
            async with login(port(relay), KEY, private=private) as member:
                await member.settle()
