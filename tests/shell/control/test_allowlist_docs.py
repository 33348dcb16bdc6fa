"""docs/allowlist.md: its commands, typed at a real server, and its settings, read by it."""

import asyncio
import re
import subprocess
import tomllib
from ipaddress import ip_address
from pathlib import Path

import pytest
from click.testing import CliRunner

from ginnel.cli.server import server as server_command
from ginnel.shell.control.config import read_config
from ginnel.wire.allowlist import FeedKey
from tests.shell.control.fleet_world import fleet_server
from tests.shell.control.test_allowlist import REGIONS

PAGE = (Path(__file__).parents[3] / "docs/allowlist.md").read_text()
COMMANDS = re.findall(r"^    ((?:curl|ginnel) .*)$", PAGE, re.MULTILINE)
PROGRAMS = ("curl", "jq")
BOUND = 20.0


def typed(command: str, url: str) -> str:
    """As a shell reads it, with pipes and comments."""
    line = command.replace("https://HOST", url)
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=BOUND, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_every_command_of_the_page_does_what_it_says(tmp_path: Path) -> None:
    async with fleet_server(tmp_path, regions=REGIONS) as server:
        url = f"http://127.0.0.1:{server.plain_ports()[0]}"
        said = {c: await asyncio.to_thread(typed, c, url) for c in COMMANDS if c.startswith("curl")}
        words = [c.split()[2:] for c in COMMANDS if c.startswith("ginnel server ")]
        (key,) = [
            await asyncio.to_thread(CliRunner().invoke, server_command, [*line, "--state", str(tmp_path)])
            for line in words
        ]
    assert FeedKey.parse(key.output.strip()) == server.allowlist.private.public()
    whole, addresses, four, sni, fqdn = (text.splitlines() for text in said.values())
    assert ["a.example.com", "443/tcp,3478/udp,80/tcp", "fast"] in [line.split("\t") for line in whole]
    assert {"192.0.2.1", "2001:db8::1"} <= {line for line in addresses if ip_address(line)}
    assert "192.0.2.1" in four
    assert all(ip_address(line).version == 4 for line in four)
    assert "a.example.com" in sni
    assert "a.example.com" in fqdn


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL))
def test_the_settings_of_the_page_are_read(block: str, tmp_path: Path) -> None:
    told = {"url": "https://vpn.example.com", "state": str(tmp_path), **tomllib.loads(block)}
    assert read_config(None, told).relays.announce_before == "15m"
