"""`ginnel server run` as a process: what it says, and what it says when it cannot."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from ginnel.cli.server import _greet
from ginnel.wire.invite import PREFIX, parse_invite
from tests.shell.control.control_client import Client, auth_key, running

PROGRAM = "from ginnel.cli.main import main; main()"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, "server", "run", *arguments]


def refused(*arguments: str) -> str:
    done = subprocess.run(command(*arguments), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1), done.stderr
    return done.stderr


def test_it_starts_says_how_to_join_and_stops_when_told(tmp_path: Path) -> None:
    plain = ("--no-relay", "--state", str(tmp_path), "--url", "http://127.0.0.1:1", "--listen-plain", "127.0.0.1:0")
    with subprocess.Popen(command(*plain), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        invite = ""
        for line in process.stdout:
            if PREFIX in line:
                invite = line.split()[-1]
            if "server invite" in line:
                break
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    assert parse_invite(invite).url == "http://127.0.0.1:1"


async def test_once_somebody_joined_a_start_writes_no_invite_into_its_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as started:
        await _greet(started)
        assert PREFIX in capsys.readouterr().out
        async with Client(started) as client:
            await client.register(await auth_key(started))
        await _greet(started)
        said = capsys.readouterr().out
        assert (PREFIX in said, "ginnel server invite" in said) == (False, True)
        assert len(started.coordinator.registry.keys) == 2


def test_an_unknown_setting_is_refused_with_its_line(tmp_path: Path) -> None:
    config = tmp_path / "server.toml"
    config.write_text('url = "https://vpn.example.com"\n\n[dns]\nbase_domian = "x.example"\n')
    assert f"{config} line 4" in refused("--config", str(config))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--config", "/nowhere.toml"), "cannot read /nowhere.toml"),
        (("--url", "ftp://x"), "--url as https://"),
        (("--url", "http://mesh.internal", "--no-relay", "--listen-plain", "127.0.0.1:0"), "must not contain"),
        (("--no-relay", "--url", "http://127.0.0.1:1"), "--listen-plain"),
        (("--no-relay", "--url", "http://127.0.0.1:1", "--listen-plain", "here"), "ip:port"),
    ],
)
def test_bad_settings_are_one_line(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    assert words in refused("--state", str(tmp_path), *arguments)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_state_directory_that_cannot_be_made_is_one_line() -> None:
    assert "choose another by --state" in refused("--state", "/proc/none", "--url", "http://127.0.0.1:1")
