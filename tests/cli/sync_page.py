"""Runs the commands of docs/firewall.md about `firewall sync`, in a network namespace: `unshare --net python -m ...`.

`$` and `#` stand before what a user and root type. There is no daemon here, so each gets a map by `--derp-map`, and DNS
that refuses; `--watch` is ended when it has done its work.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).parent.parent.parent / "docs/firewall.md"
SECTION = "## A set that stays current"
MAP = {"Regions": {"1": {"RegionID": 1, "RegionCode": "r", "RegionName": "R", "Nodes": [
    {"Name": "1a", "RegionID": 1, "HostName": "derp1a.example.com", "IPv4": "203.0.113.9", "IPv6": "2001:db8::9"}
]}}}  # fmt: skip
BOUND = 60.0


def commands() -> list[tuple[str, str]]:
    """(prompt, line) of the section's first block."""
    section = PAGE.read_text().partition(SECTION)[2].partition("\n## ")[0]
    block = section.partition("```console\n")[2].partition("```")[0]
    return re.findall(r"^([$#]) (.*)$", block, re.MULTILINE)


def main(directory: Path) -> None:
    derp_map = directory / "derp.json"
    derp_map.write_text(json.dumps(MAP))
    more = ["--derp-map", str(derp_map), "--dns", "127.0.0.1:1", "--state", str(directory / "state")]
    for _, line in commands():
        words = shlex.split(line)
        if words[0] == "nft":
            subprocess.run(words, check=True, timeout=BOUND)
        elif "--watch" in words:
            watched([*words[1:], *more, "--json"])
        else:
            subprocess.run([*ginnel(), *words[1:], *more], check=True, timeout=BOUND)
    subprocess.run(["nft", "list", "ruleset"], check=True)


def ginnel() -> list[str]:
    return [sys.executable, "-c", "from ginnel.cli.main import main; main()"]


def watched(words: list[str]) -> None:
    """It fills a set that was emptied."""
    subprocess.run(["nft", "flush", "set", "inet", "filter", "ginnel4"], check=True)
    process = subprocess.Popen([*ginnel(), *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(json.loads(line)["event"] == "added" for line in process.stdout)
    process.terminate()
    process.stdout.close()
    assert process.wait(timeout=BOUND) == 0


if __name__ == "__main__":
    main(Path(sys.argv[1]))
