"""docs/firewall.md: its commands about `open`, `close` and `lint` do what the page says."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell.firewall.hosts import Host, host, program

pytestmark = pytest.mark.root
PAGE = (Path(__file__).parent.parent.parent / "docs/firewall.md").read_text()
RULES = """table inet f {
chain c { type filter hook input priority 0; policy drop; ct state established accept; }
}
"""
NODE = {"Name": "1a", "RegionID": 1, "HostName": "d.example.com", "IPv4": "8.8.8.8"}
MAP = {"Regions": {"1": {"RegionID": 1, "RegionCode": "a", "RegionName": "A", "Nodes": [NODE]}}}


def commands() -> list[str]:
    lines = re.findall(r"^\$ (.*)$", PAGE, re.MULTILINE)
    return [line for line in lines if re.search(r"firewall (open|close|lint)|nft -j", line)]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Host]:
    with host(tmp_path) as made:
        (tmp_path / "rules.nft").write_text(RULES)
        (tmp_path / "derp.json").write_text(json.dumps(MAP))
        made.run("nft", "-f", str(tmp_path / "rules.nft"))
        yield made


def test_every_command_of_the_page_runs(here: Host, tmp_path: Path) -> None:
    assert len(commands()) >= 12
    for typed in commands():
        run = typed.replace("ginnel firewall", f"{shlex.join(program())} firewall")
        state = f" --state {shlex.quote(str(here.state))}" if re.search("firewall (open|close)", typed) else ""
        here.run("sh", "-c", f"cd {shlex.quote(str(tmp_path))} && {run}{state}")
    rules = here.run("nft", "list", "ruleset")
    assert "policy drop" in rules
    assert "41641" not in rules


def test_the_page_names_the_documented_command_and_what_it_prints(here: Host) -> None:
    assert "open --backend ufw --dry-run\nsudo ufw allow 41641/udp\n" in PAGE
    assert here.open("--backend", "ufw", "--dry-run") == "sudo ufw allow 41641/udp\n"
