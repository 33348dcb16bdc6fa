"""Ctrl-C, as a real SIGINT to commands that wait: one line in our words, and the status that shells have for it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from ginnel.lab.processes import until
from tests.shell.firewall.hosts import SOURCE

PROGRAM = (  # whoever started these tests in the background may have had SIGINT ignored
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);from ginnel.cli.main import main; main()"
)


def started(arguments: Sequence[str], path: str = "") -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "PATH": path + os.environ["PATH"]}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
    )  # fmt: skip


def interrupted(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip().splitlines()) == (130, "", ["interrupted"])


@contextmanager
def read_by(process: subprocess.Popen[str], fifo: Path) -> Iterator[None]:
    """From when somebody waits for what comes out of it."""

    def opened() -> int | None:
        assert process.poll() is None, process.communicate()
        with suppress(OSError):
            return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        return None

    writer = until(opened, 30, "the command to wait")
    try:
        yield
    finally:
        os.close(writer)


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


def test_lint_that_reads_a_file(fifo: Path) -> None:
    process = started(["firewall", "lint", str(fifo)])
    with read_by(process, fifo):
        interrupted(process)


@pytest.mark.parametrize("command", ["plan", "allowlist", "rules --format plain", "spec", "verify"])
def test_commands_that_wait_for_a_map(command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        place = f"http://127.0.0.1:{server.getsockname()[1]}/derp.json"
        process = started(["firewall", *command.split(), "--derp-map", place])
        waiting, _ = server.accept()
        with waiting:
            interrupted(process)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: the rules of this kernel are looked at")
def test_open_that_waits_for_the_firewall_s_own_program(fifo: Path, tmp_path: Path) -> None:
    program = tmp_path / "nft"
    program.write_text(f"#!/bin/sh\nexec cat {fifo}\n")
    program.chmod(0o755)
    process = started(["firewall", "open", "--dry-run", "--socket", "/nowhere"], path=f"{tmp_path}:")
    with read_by(process, fifo):
        interrupted(process)
