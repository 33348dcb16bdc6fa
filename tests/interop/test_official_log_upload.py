"""Tailscale's own daemon, pointed at our log host: it is content with the answers, and its lines can be read here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ginnel.lab.daemon import official
from tests.interop.test_official_daemon import absent

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.root
@pytest.mark.official_daemon
@pytest.mark.skipif(bool(absent()), reason=absent())
def test_the_official_daemon_uploads_here_is_not_silenced_and_retries_nothing(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.interop.log_upload_world", str(tmp_path)]
    programs = [str(official(name)) for name in ("tailscaled", "tailscale")]
    env = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT}"}
    done = subprocess.run(
        ["unshare", "-n", *program, *programs],
        capture_output=True,
        text=True,
        timeout=180,
        env=env,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["before_login"]["lines"] > 0
    assert found["taken"]["lines"] > found["before_login"]["lines"]
    assert found["refused"] == {}
    assert found["while_quiet"] <= 3, "each upload makes a line, and each line an upload"
    assert any(" official: Program starting: v1." in line for line in found["shown"])
    assert any("control: RegisterReq: got response" in line for line in found["shown"])
    assert "logtail: upload:" not in (tmp_path / "stderr").read_text()
