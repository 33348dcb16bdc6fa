"""Those who mean no good at the front door: each is refused under a name, and nobody else notices."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

import pytest

from ginnel.native import Relay
from tests.shell.control.control_client import until
from tests.shell.derp_client import LIMIT, Client, connect, login, tls_context
from tests.shell.relays import KEY, Serve, port

DOORS = ["tls", "http"]


@asynccontextmanager
async def onlookers(relay: Relay) -> AsyncIterator[None]:
    """A pair that talks before and after, and is not disturbed."""
    async with login(port(relay), KEY) as alice, login(port(relay), KEY) as bob:
        await _talk(alice, bob)
        yield
        await _talk(alice, bob)


async def _talk(alice: Client, bob: Client) -> None:
    await alice.send_packet(bob, b"fine")
    assert await bob.packet() == (alice.key, b"fine")


@asynccontextmanager
async def server_behind(path: Path) -> AsyncIterator[list[bytes]]:
    """What came to it, one entry for each connection."""
    came: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(await reader.read(65536))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async with await asyncio.start_unix_server(serve, path):
        yield came


TRICKS = {
    "two lengths": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 30\r\n\r\n",
    "length and chunks": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks not last": b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
    "chunks misspelt": b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n",
    "chunks with a space": b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n",
    "chunks in HTTP/1.0": b"POST /a HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "signed length": b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\n",
    "folded line": b"POST /a HTTP/1.1\r\nHost: a\r\nX: b\r\n Content-Length: 4\r\n\r\n",
    "bare newline": b"POST /a HTTP/1.1\r\nHost: a\nContent-Length: 4\r\n\r\n",
    "two hosts": b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "absolute form": b"GET http://b/a HTTP/1.1\r\nHost: a\r\n\r\n",
    "tunnel": b"CONNECT b:443 HTTP/1.1\r\nHost: b:443\r\n\r\n",
    "PROXY v1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "PROXY v2": bytes.fromhex("0d0a0d0a000d0a515549540a2111000c") + bytes(12) + b"GET /a HTTP/1.1\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "long head": b"GET /a HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    "many fields": b"GET /a HTTP/1.1\r\n" + b"X: a\r\n" * 100 + b"\r\n",
}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize("trick", TRICKS.values(), ids=TRICKS)
async def test_no_trick_reaches_the_server_behind(serve: Serve, tmp_path: Path, door: str, trick: bytes) -> None:
    smuggled = b"GET /admin HTTP/1.1\r\nHost: a\r\n\r\n"
    async with server_behind(tmp_path / "behind") as came:
        relay = serve(splice=str(tmp_path / "behind"))
        async with onlookers(relay), connect(port(relay, door), tls=tls_context() if door == "tls" else None) as raw:
            await raw.send(trick + smuggled)
            answer = await raw.all()
        assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
        assert answer.count(b"HTTP/1.1 ") == 1
        assert came == []
    counters = relay.counters()
    assert counters["door.bad_request"] + counters["door.ambiguous_request"] == 1
    assert counters["door.spliced"] == 0


async def test_what_can_be_understood_in_one_way_passes_as_it_is(serve: Serve, tmp_path: Path) -> None:
    sound = [
        b"POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody",
        b"POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    ]
    async with server_behind(tmp_path / "behind") as came:
        relay = serve(splice=str(tmp_path / "behind"))
        for request in sound:
            async with connect(port(relay), tls=tls_context()) as raw:
                await raw.send(request)
                assert (await raw.all()).startswith(b"HTTP/1.1 200 ")
        assert [whole.endswith(request) for whole, request in zip(came, sound, strict=True)] == [True] * 3


GARBAGE = {
    "plain HTTP": b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "SSLv2": bytes.fromhex("802e0100020015000000100100800200800300800400800500800600400700c0") + bytes(16),
    "hello too long": b"\x16\x03\x01\xff\xff" + bytes(70_000),
    "hello of nothing": b"\x16\x03\x01\x00\x04\x01\x00\x00\x00",
    "alert first": b"\x15\x03\x03\x00\x02\x02\x28",
    "data first": b"\x17\x03\x03\x00\x10" + bytes(16),
    "empty records": b"\x16\x03\x01\x00\x00" * 1000,
    "random": os.urandom(5000),
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
async def test_what_is_no_tls_is_counted_as_a_failed_handshake(serve: Serve, garbage: bytes) -> None:
    relay = serve()
    async with onlookers(relay), connect(port(relay), tls=None) as raw:
        with suppress(OSError):
            await raw.send(garbage)
            raw.writer.write_eof()
        await raw.all()
        await until(lambda: relay.counters()["door.handshake_failed"] == 1)


@pytest.mark.parametrize("stage", ["hello", "head", "websocket head", "port 80"])
async def test_a_byte_now_and_then_does_not_stretch_the_time(serve: Serve, stage: str) -> None:
    relay = serve(handshake_timeout=0.3)
    words = {"hello": b"\x16\x03\x01\x40\x00\x01", "websocket head": b"GET /derp HTTP/1.1\r\nUpgrade: websocket\r\n"}
    tls = tls_context() if "head" in stage else None
    async with onlookers(relay):
        async with connect(port(relay, "http" if stage == "port 80" else "tls"), tls=tls) as raw:
            await raw.send(words.get(stage, b"GET / HTTP/1.1\r\n"))
            with suppress(ConnectionError):
                async with asyncio.timeout(LIMIT):
                    while not raw.reader.at_eof():
                        raw.writer.write(b"a")
                        await raw.writer.drain()
                        await asyncio.sleep(0.02)
        await until(lambda: relay.counters()["door.handshake_late"] == 1)


async def test_a_login_of_one_byte_now_and_then_is_late_too(serve: Serve) -> None:
    relay = serve(handshake_timeout=0.3)
    async with onlookers(relay):
        async with connect(port(relay), tls=tls_context()) as raw:
            await raw.send(b"GET /derp HTTP/1.1\r\nUpgrade: DERP\r\nDerp-Fast-Start: 1\r\n\r\n\x02\x00\x00\x01\x00")
            with suppress(ConnectionError):
                async with asyncio.timeout(LIMIT):
                    while not raw.reader.at_eof():
                        raw.writer.write(b"a")
                        await raw.writer.drain()
                        await asyncio.sleep(0.02)
        await until(lambda: relay.counters()["door.handshake_late"] == 1)


async def test_one_place_may_be_silent_only_so_often_and_others_still_come_in(serve: Serve) -> None:
    relay = serve(limits={"half_open_per_prefix": 20, "per_prefix": 40, "limit_loopback": 1}, handshake_timeout=LIMIT)
    async with AsyncExitStack() as held:
        for _ in range(20):
            await held.enter_async_context(connect(port(relay), tls=None))
        await until(lambda: relay.half_open() == 20)
        async with connect(port(relay), tls=None) as one_more:
            assert await one_more.all() == b""
        assert relay.counters()["door.over_limit"] == 1
        _, writer = await asyncio.open_connection(
            "127.0.0.1", port(relay), ssl=tls_context(), local_addr=("127.0.0.2", 0)
        )
        writer.transport.abort()


FLOOD = 5000
KIB_EACH = 12
"""At most, of the relay's memory, for a connection that has said half a word. In the kernel each has its own."""

_SERVE = """
import sys, resource
from tests.shell.relays import KEY, port, relays
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
def rss():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmRSS"))
with relays() as serve:
    relay = serve(handshake_timeout=60.0)
    print(port(relay), KEY.hex(), flush=True)
    for line in sys.stdin:
        print(rss(), relay.half_open(), relay.counters()["door.accepted"], flush=True)
"""


async def test_thousands_of_half_open_connections_cost_little_and_others_still_come_in() -> None:
    """GINNEL_FLOOD=10000 for as many as docs/relay.md speaks of."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    flood = min(int(os.environ.get("GINNEL_FLOOD", FLOOD)), hard - 500)
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    root = Path(__file__).parents[2]
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", _SERVE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}"},
        cwd=root,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def look() -> tuple[int, int, int]:
        stdin.write("\n")
        stdin.flush()
        rss, half, accepted = map(int, stdout.readline().split())
        return rss, half, accepted

    held: list[asyncio.StreamWriter] = []
    try:
        at, key = stdout.readline().split()
        async with login(int(at), bytes.fromhex(key)) as alice, login(int(at), bytes.fromhex(key)) as bob:
            await _talk(alice, bob)
            before, _, _ = look()
            for _ in range(flood):
                _, writer = await asyncio.open_connection("127.0.0.1", int(at))
                writer.write(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc")  # a hello that does not go on
                held.append(writer)
            await until(lambda: look()[1] == flood)
            after, _, _ = look()
            await _talk(alice, bob)
            async with login(int(at), bytes.fromhex(key)) as carol:
                await _talk(carol, bob)
        each = (after - before) / flood
        assert each < KIB_EACH, f"{flood} half-open connections: {before} -> {after} KiB"
    finally:
        for writer in held:
            writer.transport.abort()
        process.kill()
        process.communicate()
        resource.setrlimit(resource.RLIMIT_NOFILE, soft)
