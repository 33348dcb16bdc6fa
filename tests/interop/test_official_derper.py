"""Tailscale's relay asks our server whom it may let in (derper -verify-client-url). `make interop` builds derper."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest

from ginnel.core.node.bootstrap import BootstrapRelay
from ginnel.core.relay.identity import read_leaf
from ginnel.lab import LabError
from ginnel.lab.daemon import official
from ginnel.shell.node.ask_relay import ask_relay
from ginnel.words import Endpoint
from tests.ports import free_port
from tests.shell.control.control_client import Client as Node
from tests.shell.control.control_client import auth_key, running, until
from tests.shell.derp_client import UPGRADE, client_info, connect, login, tls_context


def absent() -> str:
    try:
        official("derper")
    except LabError as error:
        return str(error)
    return ""


pytestmark = [pytest.mark.official_daemon, pytest.mark.skipif(bool(absent()), reason=absent() or "it is there")]


@asynccontextmanager
async def derper(state: Path, *words: str) -> AsyncIterator[int]:
    """Gives the port. words: further arguments."""
    at = free_port()
    command = [str(official("derper")), "-hostname", "127.0.0.1", "-certmode", "manual", "-certdir", str(state)]
    command += ["-c", str(state / "derper.key"), "-a", f"127.0.0.1:{at}", "-http-port", "-1", "-stun=false"]
    command += words
    with (state / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: ASYNC220
        try:
            await until(lambda: _answers(at))
            yield at
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_their_relay_lets_in_our_members_and_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "derper").mkdir()
    async with running(tmp_path / "server") as server, Node(server) as node:
        url = f"http://127.0.0.1:{server.plain_ports()[0]}/verify"
        private = node.key.raw
        closed = ("-verify-client-url", url, "-verify-client-url-fail-open=false")
        async with derper(tmp_path / "derper", *closed) as at:
            async with connect(at, tls=tls_context()) as raw:
                await raw.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n")
                key = (await raw.expect(1))[8:]
                await raw.send(client_info(private, key))
                assert await raw.all() == b""
            assert (await node.register(await auth_key(server)))["Error"] == ""
            async with asyncio.timeout(30), login(at, key, private=private) as member:
                await member.settle()


async def test_our_node_reads_what_their_relay_says_of_names(tmp_path: Path) -> None:
    """`localhost` is the name that resolves everywhere; the relay looks it up some moments after it answers."""
    async with derper(tmp_path, "-bootstrap-dns-names", "localhost") as at:
        pin = read_leaf((tmp_path / "127.0.0.1.crt").read_bytes()).pin
        relay = BootstrapRelay("1a", "127.0.0.1", (Endpoint.parse(f"127.0.0.1:{at}"),), pin)
        async with asyncio.timeout(30):
            while not (found := await ask_relay(relay, "localhost", mark=0)):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert ip_address("127.0.0.1") in found
        assert await ask_relay(relay, "other.example", mark=0) == ()
