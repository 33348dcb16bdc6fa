"""`ginnel relay run` as a user starts it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

COMMAND = [sys.executable, "-c", "from ginnel.cli.main import main; main()", "relay", "run"]
LOCAL = ["--hostname", "127.0.0.1", "--listen", "127.0.0.1:0", "--http", "none", "--stun", "127.0.0.1:0"]


def start(*arguments: str) -> subprocess.Popen[str]:
    source = str(Path(__file__).parents[2] / "src")
    environment = {**os.environ, "PYTHONPATH": source}
    return subprocess.Popen(
        [*COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def test_it_prints_its_map_entry_and_ends_when_told(tmp_path: Path) -> None:
    with start(*LOCAL, "--state", str(tmp_path / "state"), "--json") as process:
        assert process.stdout is not None
        entry = json.loads(process.stdout.readline())
        [node] = entry["900"]["Nodes"]
        with socket.create_connection(("127.0.0.1", node["DERPPort"]), 10):
            pass
        assert node["CertName"].startswith("sha256-raw:")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_taken_port_is_one_line_and_status_1(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        at = f"127.0.0.1:{taken.getsockname()[1]}"
        with start(*LOCAL, "--state", str(tmp_path), "--listen", at) as process:
            out, error = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert error.count("\n") == 1
    assert error.startswith(f"ginnel relay: cannot listen on {at} (tls): Address already in use: ")


def test_a_members_file_that_is_none_stops_the_start(tmp_path: Path) -> None:
    members = tmp_path / "members"
    members.write_text("nodekey:12\n")
    with start(*LOCAL, "--state", str(tmp_path), "--members-only", "--members", str(members)) as process:
        _, error = process.communicate(timeout=20)
    assert process.returncode == 1
    assert error == f"ginnel relay: {members}: expected one nodekey: and 64 hex digits in each line\n"
