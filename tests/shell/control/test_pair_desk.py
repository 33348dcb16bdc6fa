"""A node asks about a pair by way of a real server: two clients with control channels of their own."""

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from ginnel.core.node.c2n import asker_of, pair_answer
from ginnel.shell.control import pair_desk
from ginnel.shell.control.run import ControlServer
from tests.shell.control.control_client import Client, MapStream, auth_key, running

DENY_ALL = '{"acls": []}'


@asynccontextmanager
async def two(path: Path) -> AsyncIterator[tuple[ControlServer, Client, Client]]:
    async with running(path) as server, Client(server, "alice") as alice, Client(server, "bob") as bob:
        key = await auth_key(server, reusable=True)
        await alice.register(key)
        await bob.register(key)
        yield server, alice, bob


def question(asker: Client, peer: Client) -> dict[str, Any]:
    return {"NodeKey": str(asker.key.public()), "Peer": str(peer.key.public())}


async def asked(stream: MapStream) -> tuple[str, bytes]:
    """The path and payload of the server's request."""
    ping = (await stream.until("PingRequest"))["PingRequest"]
    assert ping["Types"] == "c2n"
    return urlsplit(ping["URL"]).path, base64.b64decode(ping["Payload"])


async def test_the_peers_word_comes_back_to_who_asked(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, alice, bob):
        stream = await bob.stream()
        asking = alice.start("/machine/doctor", json.dumps(question(alice, bob)).encode())
        path, payload = await asked(stream)
        assert asker_of(payload) == alice.key.public()
        assert (await bob.post(path, pair_answer(b'{"Name":"bob"}')))[0] == 200
        assert await alice.finish(asking) == (200, b'{"Name":"bob"}')
        assert (await bob.post(path, pair_answer(b'{"Name":"again"}')))[0] == 404


async def test_an_answer_of_somebody_else_counts_for_nothing(tmp_path: Path) -> None:
    async with two(tmp_path) as (server, alice, bob), Client(server, "mallory") as mallory:
        await mallory.register(await auth_key(server))
        stream = await bob.stream()
        asking = alice.start("/machine/doctor", json.dumps(question(alice, bob)).encode())
        path, _ = await asked(stream)
        assert (await mallory.post(path, pair_answer(b'{"Name":"mallory"}')))[0] == 404
        await bob.post(path, pair_answer(b'{"Name":"bob"}'))
        assert await alice.finish(asking) == (200, b'{"Name":"bob"}')


async def test_nobody_asks_in_anothers_name(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, alice, bob):
        await bob.stream()
        assert (await alice.post("/machine/doctor", question(bob, alice)))[0] == 404


async def test_whom_the_policy_hides_nobody_asks(tmp_path: Path) -> None:
    async with two(tmp_path) as (server, alice, bob):
        await bob.stream()
        await server.coordinator.set_policy(DENY_ALL, "test")
        status, answer = await alice.post("/machine/doctor", question(alice, bob))
        assert (status, answer.strip()) == (404, b"no such peer")


async def test_a_peer_without_a_map_stream_is_told_as_such(tmp_path: Path) -> None:
    async with two(tmp_path) as (_, alice, bob):
        status, answer = await alice.post("/machine/doctor", question(alice, bob))
        assert status == 503
        assert b"not connected" in answer


@pytest.mark.parametrize(
    "garbage", [b"", b"HTTP/1.1 200 OK\r\n\r\n[]", b"HTTP/1.1 404 Not Found\r\n\r\n", b"\xff" * 99]
)
async def test_an_answer_that_is_none_is_not_handed_on(tmp_path: Path, garbage: bytes) -> None:
    async with two(tmp_path) as (_, alice, bob):
        stream = await bob.stream()
        asking = alice.start("/machine/doctor", json.dumps(question(alice, bob)).encode())
        path, _ = await asked(stream)
        await bob.post(path, garbage)
        assert (await alice.finish(asking))[0] == 502


async def test_a_peer_that_never_answers_is_waited_for_a_moment_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pair_desk, "PATIENCE", 0.01)
    async with two(tmp_path) as (_, alice, bob):
        await bob.stream()
        assert (await alice.post("/machine/doctor", question(alice, bob)))[0] == 504
