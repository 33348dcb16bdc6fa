"""How the daemon is started: its unit of systemd, and what becomes of its arguments."""

import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from ginnel.cli.ginneld import main
from ginnel.shell.node.daemon import Options

UNIT = Path(__file__).parent.parent.parent / "packaging/systemd/ginneld.service"


def value(key: str) -> str:
    return next(line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{key}="))


def test_its_directories_are_the_daemons_own() -> None:
    told = {option.name: str(option.default) for option in main.params}
    assert told["state"] == f"/var/lib/{value('StateDirectory')}"
    assert Path(told["socket"]).parent == Path("/run", value("RuntimeDirectory"))


@pytest.mark.parametrize(("words", "port"), [([], 41641), (["--port", "0"], 0), (["--port", "5000"], 5000)])
def test_the_port_is_the_documented_one_unless_another_is_named(
    words: list[str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Options] = []
    monkeypatch.setattr("ginnel.shell.node.daemon.run", started.append)
    CliRunner().invoke(main, words, catch_exceptions=False)
    assert [options.port for options in started] == [port]


@pytest.mark.parametrize(
    ("words", "environment", "target"),
    [
        ([], {}, ""),
        (["--log-target", "https://log.example.com"], {}, "https://log.example.com"),
        (["--log-target", "https://log.example.com", "--no-logs-no-support"], {}, ""),
        ([], {"TS_LOG_TARGET": "https://log.example.com"}, "https://log.example.com"),
        ([], {"TS_LOG_TARGET": "https://log.example.com", "TS_NO_LOGS_NO_SUPPORT": "true"}, ""),
    ],
)
def test_no_log_goes_anywhere_unless_a_host_is_named_and_none_where_logs_are_forbidden(
    words: list[str], environment: dict[str, str], target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[Options] = []
    monkeypatch.setattr("ginnel.shell.node.daemon.run", started.append)
    CliRunner(env=environment).invoke(main, words, catch_exceptions=False)
    assert [options.log_target for options in started] == [target]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not here")
def test_the_unit_is_sound(tmp_path: Path) -> None:
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/ginneld", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", str(copy)], capture_output=True, text=True, check=False)
    assert (done.returncode, [line for line in done.stderr.splitlines() if str(copy) in line]) == (0, [])
