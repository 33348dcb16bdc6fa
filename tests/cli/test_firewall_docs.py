"""docs/firewall.md: its commands about plan, allowlist, spec and rules do what they are there for, with a real server
and the daemon's real local API."""

import asyncio
import re
import socket
from pathlib import Path

import pytest
from click.testing import CliRunner

from ginnel.cli.commands import ginnel
from ginnel.shell.firewall import facts
from ginnel.shell.node.backend import NodeBackend
from ginnel.shell.node.local_api import LocalApi
from ginnel.shell.relaydns import resolve
from ginnel.wire.tailcfg import encode
from tests.core.firewall.maps import mesh
from tests.shell.control.fleet_world import fleet_server
from tests.shell.node.test_node import World, settled, world

__all__ = ["world"]
PAGE = Path(__file__).parent.parent.parent / "docs/firewall.md"
COMMANDS = re.findall(r"^\$ ginnel firewall ((?:plan|allowlist|spec|rules)\b.*)$", PAGE.read_text(), re.MULTILINE)
REGIONS = {"910": {"code": "far", "name": "Far", "nodes": [{"host": "r.example.com"}]}}


def system(host: str, family: socket.AddressFamily) -> list[str]:
    if family == socket.AF_INET:
        return ["203.0.113.7"]
    raise socket.gaierror(socket.EAI_NONAME, "no AAAA record")


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(facts, "own_addresses", frozenset)
    monkeypatch.setattr(resolve, "_system", system)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "derp.json").write_bytes(encode(mesh(2)))


def test_the_page_has_the_commands() -> None:
    assert len(COMMANDS) >= 8
    assert {command.split()[0] for command in COMMANDS} == {"plan", "allowlist", "spec", "rules"}


@pytest.mark.parametrize("command", COMMANDS)
async def test_each_command_of_the_page_runs(command: str, world: World, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "daemon"))
        listener.listen()
        async with fleet_server(tmp_path / "server", regions=REGIONS) as server, world.running() as node:
            world.up()
            await settled()
            api = asyncio.create_task(LocalApi(NodeBackend(node)).serve(listener))
            url = f"http://127.0.0.1:{server.plain_ports()[0]}"
            words = command.replace("https://vpn.example.com", url).split()
            socket_of = {"GINNEL_SOCKET": str(tmp_path / "daemon")}
            done = await asyncio.to_thread(CliRunner().invoke, ginnel, ["firewall", *words], env=socket_of)
            api.cancel()
            await asyncio.wait({api})
    assert done.exit_code == 0, done.output
    assert done.stdout or "--output" in command
