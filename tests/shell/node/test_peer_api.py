"""The peer API on loopback: `lo` stands for the tunnel's device, 127.0.0.2 and the like for mesh addresses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest

from ginnel.shell.node.peer_api import ANSWERS_BURST, CONNECTIONS_OF_ONE, HEAD_LIMIT, PeerApi, Testify, regions_in
from ginnel.words import NodeKey

ALICE, BOB = NodeKey(b"a" * 32), NodeKey(b"b" * 32)
OWN = "127.0.0.9"
PEERS = {"127.0.0.2": ALICE, "127.0.0.3": BOB}
GENEROUS = 10.0


async def says(asker: NodeKey, _regions: tuple[int, ...]) -> bytes | None:
    return b'{"Name":"for alice"}' if asker == ALICE else None


@asynccontextmanager
async def serving(
    testify: Testify = says,
) -> AsyncIterator[tuple[PeerApi, int]]:
    listening = asyncio.Event()
    api = PeerApi("lo", asker=PEERS.get, testify=testify, changed=listening.set)
    running = asyncio.create_task(api.run())
    try:
        api.follow(api, frozenset({f"{OWN}/32"}))
        async with asyncio.timeout(GENEROUS):
            await listening.wait()
        yield api, api.services[0].port
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def ask(
    port: int, source: str, line: bytes = b"GET /v0/doctor HTTP/1.1", host: str = "", more: bytes = b""
) -> bytes:
    request = b"%s\r\nHost: %s\r\n%s\r\n" % (line, (host or f"{OWN}:{port}").encode(), more)
    async with asyncio.timeout(GENEROUS):
        reader, writer = await asyncio.open_connection(OWN, port, local_addr=(source, 0))
        try:
            writer.write(request)
            return await reader.read()
        except ConnectionResetError:
            return b""
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def status(answer: bytes) -> int:
    return int(answer.split(b" ")[1]) if answer else 0


async def test_a_peer_is_told_what_is_known_of_the_way_to_it():
    async with serving() as (_, port):
        answer = await ask(port, "127.0.0.2")
    assert status(answer) == 200
    assert answer.endswith(b'\r\n\r\n{"Name":"for alice"}')


async def test_who_is_no_peer_gets_not_a_byte():
    async with serving() as (_, port):
        assert await ask(port, "127.0.0.77") == b""


@pytest.mark.parametrize(
    ("request_line", "expected"),
    [
        (b"GET /v0/put HTTP/1.1", 404),
        (b"GET /v0/doctor/../../etc/passwd HTTP/1.1", 404),
        (b"POST /v0/doctor HTTP/1.1", 405),
        (b"GET /v0/doctor?peer=somebody-else HTTP/1.1", 200),
    ],
)
async def test_there_is_one_question(request_line, expected):
    async with serving() as (_, port):
        answer = await ask(port, "127.0.0.2", request_line)
    assert status(answer) == expected


@pytest.mark.parametrize(
    ("host", "more"),
    [
        ("rebound.example", b""),
        ("127.0.0.8:80", b""),
        (OWN, b""),
        ("", b"Origin: http://rebound.example\r\n"),
        ("", b"Referer: http://rebound.example/\r\n"),
        ("", b"Sec-Fetch-Site: cross-site\r\n"),
    ],
)
async def test_web_pages_are_told_nothing(host, more):
    async with serving() as (_, port):
        answer = await ask(port, "127.0.0.2", host=host, more=more)
    assert status(answer) == 403
    assert b"alice" not in answer


async def test_a_peer_that_the_map_does_not_connect_us_to_is_told_nothing():
    async with serving() as (_, port):
        assert status(await ask(port, "127.0.0.3")) == 404


async def test_a_peer_that_asks_on_and_on_is_refused_and_others_are_not():
    async with serving() as (_, port):
        answers = [status(await ask(port, "127.0.0.2")) for _ in range(int(ANSWERS_BURST) + 2)]
        other = status(await ask(port, "127.0.0.3"))
    assert answers[: int(ANSWERS_BURST)] == [200] * int(ANSWERS_BURST)
    assert answers[-1] == 429
    assert other == 404


async def test_one_peer_does_not_hold_all_connections():
    release, entered = asyncio.Event(), asyncio.Semaphore(0)

    async def slow(asker: NodeKey, _regions: tuple[int, ...]) -> bytes | None:
        if asker == ALICE:
            entered.release()
            await release.wait()
        return b"{}"

    async with serving(slow) as (_, port):
        held = [asyncio.create_task(ask(port, "127.0.0.2")) for _ in range(CONNECTIONS_OF_ONE)]
        async with asyncio.timeout(GENEROUS):
            for _ in held:
                await entered.acquire()
        assert [await ask(port, "127.0.0.2") for _ in range(3)] == [b"", b"", b""]
        assert status(await ask(port, "127.0.0.3")) == 200
        release.set()
        assert [status(answer) for answer in await asyncio.gather(*held)] == [200] * CONNECTIONS_OF_ONE
        assert status(await ask(port, "127.0.0.2")) == 200


@pytest.mark.parametrize(
    "garbage", [b"\x16\x03\x01\x02\x00" * 40, b"GET " + b"a" * (2 * HEAD_LIMIT) + b"\r\n"], ids=["TLS", "long"]
)
async def test_what_is_no_request_ends_the_connection_and_nothing_else(garbage):
    async with serving() as (_, port):
        assert await ask(port, "127.0.0.2", garbage) == b""
        assert status(await ask(port, "127.0.0.2")) == 200


async def test_it_is_advertised_while_it_listens_and_moves_with_the_addresses():
    async with serving() as (api, port):
        assert api.hostinfo() == {"Services": [{"Proto": "peerapi4", "Port": port}]}
        moved = asyncio.Event()
        api._changed = moved.set
        api.follow(api, frozenset())
        async with asyncio.timeout(GENEROUS):
            await moved.wait()
        assert api.hostinfo() == {}
        with pytest.raises(ConnectionRefusedError):
            await ask(port, "127.0.0.2")


@pytest.mark.parametrize(
    ("target", "regions"),
    [
        (b"/v0/doctor", ()),
        (b"/v0/doctor?region=1,7,1", (1, 7)),
        (b"/v0/doctor?region=1,2,3,4,5,6", (1, 2, 3, 4)),
        (b"/v0/doctor?region=-1,x,%31,999999,\xb2", (1,)),
        (b"/v0/doctor?" + b"region=1&" * 300, (1,)),
    ],
)
def test_a_few_regions_may_be_asked_for(target, regions):
    assert regions_in(target) == regions
