"""docs/firewall.md: its commands about `firewall sync` do what they are there for."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.sync_page import BOUND, commands

ROOT = Path(__file__).parent.parent.parent


def test_the_page_has_the_commands() -> None:
    lines = [line for _, line in commands()]
    assert sum(line.startswith("ginnel firewall sync ") for line in lines) == 3
    assert sum(line.startswith("nft ") for line in lines) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a network namespace is made here")
def test_each_command_of_the_page_runs(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.cli.sync_page", str(tmp_path)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        capture_output=True, text=True, timeout=4 * BOUND, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 would be added" in done.stdout
    assert "2 added, 0 removed; 2 in the set" in done.stdout
    ruleset = done.stdout.rpartition("table inet filter")[2]
    assert "203.0.113.9" in ruleset
    assert "2001:db8::9" in ruleset
