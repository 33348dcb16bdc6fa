"""Asking real servers on loopback."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from ipaddress import ip_address

import pytest

from ginnel.core.node.actions import AskPort80, MeasureIcmp
from ginnel.core.node.captive import Relay80, Sign, judge
from ginnel.shell.node import icmp, port80
from ginnel.wire.generate204 import ANSWER_LIMIT, parse_answer
from ginnel.words import RegionId
from tests.shell.relays import Serve, port

LOCAL = ip_address("127.0.0.1")
ASK = AskPort80(1, LOCAL, "ts_0123456789abcdef")


async def asked(answer: bytes, *, hang_up: bool = True) -> tuple[bytes, bytes]:
    """What came, and what was asked."""
    requests: list[bytes] = []
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        if not hang_up:
            await reader.read()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()
        served.set()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        came = await port80.ask(ASK, mark=0, port=server.sockets[0].getsockname()[1])
        await served.wait()
    return came, requests[0]


async def test_our_own_relay_answers_truly(serve: Serve) -> None:
    came = await port80.ask(ASK, mark=0, port=port(serve(), "http"))
    assert judge(parse_answer(came), ASK.challenge, Relay80("r", LOCAL)) is Sign.TRUE


async def test_nothing_is_sent_but_one_small_request() -> None:
    came, request = await asked(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nSet-Cookie: a=b\r\n\r\n")
    assert request.startswith(b"GET /generate_204?t=ts_0123456789abcdef HTTP/1.1\r\nHost: 127.0.0.1\r\n")
    assert parse_answer(came).status == 302


async def test_a_flood_is_cut_at_one_kibibyte() -> None:
    came, _ = await asked(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1_000_000)
    assert len(came) == ANSWER_LIMIT


async def test_a_server_that_does_not_hang_up_costs_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port80, "ANSWER_TIME", 60.0)
    async with asyncio.timeout(20):
        came, _ = await asked(b"HTTP/1.1 204 No Content\r\n\r\n", hang_up=False)
    assert parse_answer(came).status == 204


async def test_a_port_where_nobody_listens_is_silence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert await port80.ask(ASK, mark=0, port=taken.getsockname()[1]) == b""


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port80, "ANSWER_TIME", 0.05)
    assert (await asked(b"", hang_up=False))[0] == b""


async def test_an_echo_comes_back_where_the_system_lets_us_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    action = MeasureIcmp(RegionId(1), LOCAL, b"relay-1")  # type: ignore[arg-type]
    try:
        icmp._open()[0].close()
    except PermissionError:
        assert await icmp.echo(action, mark=0) is None
        return
    took = await icmp.echo(action, mark=0)
    assert took is not None
    assert 0 <= took < icmp.ECHO_TIME


async def test_where_icmp_is_not_allowed_there_is_no_answer_and_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(icmp, "_open", refuse)
    assert await icmp.echo(MeasureIcmp(RegionId(1), LOCAL, b"x"), mark=0) is None  # type: ignore[arg-type]
