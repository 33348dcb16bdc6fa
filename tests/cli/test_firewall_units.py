"""The units of systemd for `firewall sync`: they are sound, and start a command that exists with options that exist."""

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from ginnel.cli.firewall_sync import sync

UNITS = Path(__file__).parent.parent.parent / "packaging/systemd"
SERVICES = ["ginnel-firewall-sync.service", "ginnel-firewall-watch.service"]
WORDS = {"${BACKEND}": "nftables", "${SET}": "inet/filter/ginnel4,ginnel6", "$OPTIONS": "--audit=/tmp/x"}


def value(name: str, key: str) -> str:
    lines = (UNITS / name).read_text().splitlines()
    return next(line.partition("=")[2] for line in lines if line.startswith(f"{key}="))


@pytest.mark.parametrize("name", SERVICES)
def test_the_command_of_a_unit_is_understood(name: str) -> None:
    words = [WORDS.get(word, word) for word in shlex.split(value(name, "ExecStart"))]
    assert words[:3] == ["/usr/bin/ginnel", "firewall", "sync"]
    context = sync.make_context("sync", words[3:])
    assert context.params["name"] == WORDS["${SET}"]
    assert context.params["watch"] == (value(name, "Type") == "notify")


def test_the_timer_comes_within_a_quarter_of_an_hour() -> None:
    assert value("ginnel-firewall-sync.timer", "OnUnitInactiveSec") == "5min"
    assert value("ginnel-firewall-sync.timer", "RandomizedDelaySec") == "30s"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_the_units_are_sound(tmp_path: Path) -> None:
    names = [*SERVICES, "ginnel-firewall-sync.timer"]
    for name in names:  # the program need not be installed where it is looked at
        (tmp_path / name).write_text((UNITS / name).read_text().replace("/usr/bin/ginnel", "/bin/true"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *(str(tmp_path / name) for name in names)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, [line for line in done.stderr.splitlines() if str(tmp_path) in line]) == (0, [])
