"""`firewall sync` for real: sets of nftables and ipset, DNS and HTTP servers that fail, and kill -9 at any moment."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

RUNS = 50
BOUND = 240.0  # of failures: it takes 25 s where nothing else runs
ROOT = Path(__file__).parent.parent.parent


@pytest.mark.root
@pytest.mark.parametrize("backend", ["nftables", "ipset"])
def test_fifty_runs_killed_at_random_never_leave_the_set_empty_or_wrong(backend: str, tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "tests.lab.firewall_sync_runs", str(RUNS), "7", str(tmp_path),
         backend],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:] + (tmp_path / "sync.log").read_text()[-2000:]
    seen = json.loads(done.stdout)
    assert seen["runs"] == RUNS
    assert seen["reboots"] > 0
    assert seen["looks"] > RUNS
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o600
    lines = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert {line["what"] for line in lines} == {"add", "remove"}
