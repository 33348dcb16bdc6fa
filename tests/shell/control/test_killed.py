"""kill -9 while machines register: whatever was acknowledged is there after the restart (X04, C06)."""

import asyncio
import random
import signal
import sys
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ginnel.shell.control.adminclient import AdminError, call
from ginnel.words import MachineKey
from tests.ports import free_port
from tests.shell.control.control_client import Client, Lost

PROGRAM = "from ginnel.cli.main import main; main()"
MACHINES = 12


@dataclass
class Killed:
    """A server in a process of its own; looks enough like a ControlServer for `Client`."""

    state: Path
    port: int = field(default_factory=free_port)
    admin: Any = None

    def plain_ports(self) -> list[int]:
        return [self.port]

    def ask(self, verb: str, **arguments: Any) -> Any:
        return call(self.state / "admin.sock", verb, arguments)

    async def launch(self) -> Process:
        arguments = ("--no-relay", "--quiet", "--url", "http://127.0.0.1:1", "--state", str(self.state))
        listen = ("--listen-plain", f"127.0.0.1:{self.port}")
        program = (sys.executable, "-c", PROGRAM, "server", "run", *arguments, *listen)
        return await asyncio.create_subprocess_exec(*program, stdout=DEVNULL, stderr=DEVNULL)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Process]:
        process = await self.launch()
        try:
            async with asyncio.timeout(60):
                while not await asyncio.to_thread(self._answers):
                    assert process.returncode is None, "the server did not come up again"
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGKILL)
            await process.wait()

    def _answers(self) -> bool:
        with suppress(AdminError):
            key = MachineKey.parse(self.ask("server.info")["public_key"])
            self.admin = SimpleNamespace(joining=SimpleNamespace(server_key=key))
            return True
        return False


@dataclass
class Witness:
    """What clients were told. `keys`: each one-shot key is tried by two machines at once."""

    acknowledged: set[str] = field(default_factory=set)
    enough: asyncio.Event = field(default_factory=asyncio.Event)
    wanted: int = 0

    async def join(self, server: Any, name: str, auth_key: str) -> None:
        client = Client(server, name)
        with suppress(Lost, ConnectionError, asyncio.IncompleteReadError, TimeoutError):
            async with client:
                answer = await client.register(auth_key)
                if not answer["Error"]:
                    self.acknowledged.add(str(client.key.public()))
                if len(self.acknowledged) >= self.wanted:
                    self.enough.set()


@pytest.mark.parametrize("seed", range(1))
async def test_every_acknowledged_node_survives_and_no_key_makes_two(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    server, witness = Killed(tmp_path), Witness()
    keys: list[str] = []
    for _ in range(2):
        async with server.running() as process:
            fresh = [server.ask("preauthkeys.create", user="default")["key"] for _ in range(MACHINES)]
            keys += fresh
            witness.enough.clear()
            witness.wanted = len(witness.acknowledged) + chance.randint(1, MACHINES)
            joins = asyncio.gather(*(witness.join(server, f"n{number}", key) for number, key in enumerate(fresh * 2)))
            enough = asyncio.create_task(witness.enough.wait())
            await asyncio.wait({joins, enough}, return_when=asyncio.FIRST_COMPLETED)
            process.send_signal(signal.SIGKILL)
            enough.cancel()
            await joins
    async with server.running():
        found = [node["node_key"] for node in server.ask("nodes.list")]
        used = [key for key in server.ask("preauthkeys.list") if key["used"]]
        assert witness.acknowledged
        assert witness.acknowledged <= set(found)
        assert len(found) == len(set(found)) == len(used) <= len(keys)
        registered = [entry for entry in server.ask("audit.list") if entry["verb"] == "register"]
        assert len(registered) == len(found)


@pytest.mark.parametrize("sign", ["noise_private.key", "ginnel.db-wal"])
async def test_a_first_start_that_is_killed_needs_no_repair(tmp_path: Path, sign: str) -> None:
    server = Killed(tmp_path)
    process = await server.launch()
    async with asyncio.timeout(60):
        while not (tmp_path / sign).exists():  # noqa: ASYNC110
            await asyncio.sleep(0)
    process.send_signal(signal.SIGKILL)
    await process.wait()
    async with server.running():
        assert [user["name"] for user in server.ask("users.list")] == ["default"]
