"""Each kind of set on the real firewall, in namespaces of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent.parent.parent
UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
BOUND = 300.0  # of failures

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces are made here")


def exercised(kind: str, directory: Path) -> dict[str, str]:
    done = subprocess.run(
        [*UNSHARE, sys.executable, "-m", "tests.shell.firewall.sets.in_namespace", kind, str(directory)],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": f"{ROOT}/src:{ROOT}"},
        capture_output=True, text=True, timeout=BOUND, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seen: dict[str, str] = json.loads(done.stdout)
    return seen


@pytest.mark.parametrize("kind", ["nftables", "ipset", "ufw", "firewalld"])
def test_a_set_is_made_filled_and_thinned_out(kind: str, tmp_path: Path) -> None:
    seen = exercised(kind, tmp_path)
    steps = {name: seen[name] for name in ("empty", "first", "both", "last")}
    assert steps == dict.fromkeys(steps, True), seen
    assert "203.0.113.7" in seen["shown"]
    assert "203.0.113.5" not in seen["shown"]
    if kind == "ufw":
        assert "203.0.113.99" in seen["shown"], "somebody else's rule is gone"
    else:
        assert seen["missing"], "a set that is not there was read"
    if kind in ("nftables", "ipset"):
        assert "there is no set" in seen["missing"]
        assert "--create" in seen["missing"]
