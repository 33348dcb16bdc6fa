"""`ginnel relay run` of a fleet as its operator starts and stops it, and what the server's admin is told."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from ginnel.cli.relay import relay
from ginnel.cli.relay_fleet import _troubles
from ginnel.cli.relay_join import joined, settings_for
from ginnel.core.relay.bootstrap import BootstrapNames
from ginnel.core.relaydns.hosts import Lookup
from ginnel.shell.relay import EmbeddedRelay
from ginnel.shell.relay_bootstrap import BootstrapDns
from ginnel.shell.relay_settings import RelaySettings
from ginnel.wire.relay_token import RelayToken, encode_relay_token
from ginnel.words import MachineKey, WallTime
from tests.ports import free_port
from tests.shell.control.control_client import PATIENCE, Client, auth_key
from tests.shell.control.fleet_world import eventually, fleet_server, nodes_of, token_for
from tests.shell.derp_client import login

SOURCE = str(Path(__file__).parents[2] / "src")
COMMAND = ["-c", "from ginnel.cli.main import main; main()", "relay", "run"]
LOCAL = ["--hostname", "127.0.0.1", "--listen", "127.0.0.1:0", "--http", "none", "--stun", "127.0.0.1:0"]


@asynccontextmanager
async def started(state: Path, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Ended however the test ends."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, *COMMAND, *LOCAL, "--state", str(state), *arguments,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": SOURCE},
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def told(process: asyncio.subprocess.Process, wanted: str) -> None:
    """What it says next, among other things."""
    assert process.stderr is not None
    async with asyncio.timeout(PATIENCE):
        while (line := (await process.stderr.readline()).decode()) != wanted:
            assert line, f"it ended before it said {wanted!r}"


async def test_a_relay_that_is_told_to_stop_is_left_by_its_clients_first(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, Client(server) as node:
        token = await token_for(server)
        await node.register(await auth_key(server))
        async with started(tmp_path / "relay", "--join", token, "--drain-time", str(PATIENCE)) as process:
            await told(process, "ginnel relay: in map\n")
            record, [entry] = server.fleet.book.relays[2], nodes_of(server, 901)
            assert record.key is not None
            async with login(entry.derp_port, record.key.raw, private=node.key.raw):
                process.send_signal(signal.SIGTERM)
                await eventually(lambda: server.fleet.book.relays[2].state == "leaving", "its wish")
                assert process.returncode is None
            said = (await asyncio.wait_for(process.communicate(), PATIENCE))[1].decode()
            assert process.returncode == 0
            assert "ginnel relay: draining\n" in said
            assert token not in said
        await eventually(lambda: not nodes_of(server, 901), "out of the map")
        async with started(tmp_path / "relay"):
            await eventually(lambda: nodes_of(server, 901), "the relay in the map again")


async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server") as server, Client(server) as node:
        token = await token_for(server)
        await node.register(await auth_key(server))
        async with started(tmp_path / "relay", "--join", token, "--drain-time", "3600") as process:
            await told(process, "ginnel relay: in map\n")
            record, [entry] = server.fleet.book.relays[2], nodes_of(server, 901)
            assert record.key is not None
            async with login(entry.derp_port, record.key.raw, private=node.key.raw):
                process.send_signal(signal.SIGTERM)
                await eventually(lambda: server.fleet.book.relays[2].state == "leaving", "its wish")
                process.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(process.wait(), PATIENCE) == 0


async def test_a_relay_whose_server_was_never_there_says_that_it_has_not_joined(tmp_path: Path) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    token = RelayToken(url, MachineKey(bytes(range(32))), WallTime(time.time() + 3600), "grelay-a-b", None)
    async with started(tmp_path, "--join", encode_relay_token(token)) as process:
        assert process.stderr is not None
        said = (await asyncio.wait_for(process.stderr.readline(), PATIENCE)).decode()
    assert said.startswith("ginnel relay: away: the server cannot be reached, this relay has not joined and goes on")


class Telling:
    """A relay's process, as far as it tells names; `asked`: what it has asked DNS for, which knows none."""

    def __init__(self, state: Path) -> None:
        self.asked: set[str] = set()
        ports = ("127.0.0.1:0",)
        settings = RelaySettings(state, "127.0.0.1", tls=ports, http=ports, stun=ports, threads=1)
        self.relay = EmbeddedRelay.start(settings, WallTime(time.time()))
        names = BootstrapNames(frozenset({"own.example"}))
        self.bootstrap = BootstrapDns(self.relay.set_bootstrap_dns, names, self._look_up)
        self._work = asyncio.create_task(self.bootstrap.run())

    async def _look_up(self, name: str) -> tuple[Lookup, Lookup]:
        self.asked.add(name)
        return Lookup.FAILED, Lookup.FAILED

    async def joins(self, token: str, wanted: set[str]) -> None:
        """Until it has asked for these names."""
        joining = settings_for(self.relay._settings.state, token)
        assert joining is not None
        try:
            async with joined(self.relay, joining, self.bootstrap, asyncio.Event()):
                await eventually(lambda: self.asked == wanted, f"{wanted} to be asked for")
        finally:
            self._work.cancel()
            self.relay.close()


async def test_it_tells_the_names_of_its_server_to_clients_whose_dns_fails(tmp_path: Path) -> None:
    async with fleet_server(tmp_path / "server", log_host={"names": ["log.example"]}) as server:
        await Telling(tmp_path / "relay").joins(await token_for(server), {"own.example", "log.example"})


async def test_it_knows_the_servers_own_name_while_that_is_away(tmp_path: Path) -> None:
    token = RelayToken(
        f"http://c.example:{free_port()}", MachineKey(bytes(range(32))), WallTime(time.time() + 3600), "a-b", None
    )
    await Telling(tmp_path).joins(encode_relay_token(token), {"own.example", "c.example"})


@pytest.mark.parametrize("number", ["nan", "inf", "500"])
def test_a_place_that_is_none_is_a_wrong_argument(number: str) -> None:
    shown = CliRunner().invoke(relay, ["token", "create", "--region", "901", "--lat", number])
    assert shown.exit_code == 2
    assert "'--lat'" in shown.output


def test_maps_that_cannot_be_read_are_told_with_what_stays_of_them() -> None:
    maps = [
        {"source": "https://a/", "regions": 3, "error": "HTTP 500"},
        {"source": "/b", "regions": 0, "error": "it is no DERP map"},
        {"source": "/c", "regions": 2, "error": ""},
    ]
    assert _troubles({"health": ["its own network"], "extra_maps": maps}) == [
        "its own network",
        "the DERP map https://a/ cannot be read, its last 3 regions stay: HTTP 500",
        "the DERP map /b cannot be read, it adds no region: it is no DERP map",
    ]
