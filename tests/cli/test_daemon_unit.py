"""The unit of systemd for the daemon: it is sound, and its directories are those that `ginneld` uses by itself."""

import shutil
import subprocess
from pathlib import Path

import pytest

from ginnel.cli.ginneld import main

UNIT = Path(__file__).parent.parent.parent / "packaging/systemd/ginneld.service"


def value(key: str) -> str:
    return next(line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}="))


def test_its_directories_are_the_daemons_own() -> None:
    told = {option.name: str(option.default) for option in main.params}
    assert told["state"] == f"/var/lib/{value('StateDirectory')}"
    assert Path(told["socket"]).parent == Path("/run", value("RuntimeDirectory"))


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_the_unit_is_sound(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/ginneld", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if str(copy) in line]) == (0, [])
