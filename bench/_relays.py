"""Relays to measure, ours and derper, each as a process of its own on loopback, and what they cost."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
CPUCLOCK_SCHED = 2
"""With a process id, the clock that clock_getcpuclockid(3) names."""


@dataclass(frozen=True)
class Running:
    """A relay's process and where it listens."""

    process: subprocess.Popen[str]
    tls: int
    stun: int

    def cpu_seconds(self) -> float:
        """Of the whole process, in user and kernel mode, with the threads that have ended, to the nanosecond. What the
        kernel does for it on loopback, its half of TCP included, runs in its own threads and is in there."""
        return time.clock_gettime(~self.process.pid << 3 | CPUCLOCK_SCHED)

    def rss_kib(self) -> int:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))


def free_port() -> int:
    with socket.socket() as tcp:
        tcp.bind(("127.0.0.1", 0))
        return int(tcp.getsockname()[1])


@contextmanager
def ours() -> Iterator[Running]:
    tls, stun = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="ginnel-bench-") as state:
        command = [sys.executable, "-c", "from ginnel.cli.main import main; main()", "relay", "run"]
        command += ["--hostname", "127.0.0.1", "--state", state, "--http", "none", "--json"]
        command += ["--listen", f"127.0.0.1:{tls}", "--stun", f"127.0.0.1:{stun}"]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        with _process(command, environment) as process:
            assert process.stdout is not None
            assert process.stdout.readline(), "our relay did not start"
            yield Running(process, tls, stun)


@contextmanager
def derper(binary: str) -> Iterator[Running]:
    tls, stun = free_port(), free_port()
    with tempfile.TemporaryDirectory(prefix="ginnel-bench-") as state:
        command = [binary, "-c", f"{state}/derper.key", "-certmode", "manual", "-certdir", state]
        command += ["-hostname", "127.0.0.1", "-a", f"127.0.0.1:{tls}", "-http-port", "-1", "-stun-port", str(stun)]
        with _process(command, dict(os.environ)) as process:
            _wait_for_tcp(tls)
            yield Running(process, tls, stun)


@contextmanager
def _process(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_for_tcp(port: int) -> None:
    for _ in range(200):
        with socket.socket() as tcp:
            if tcp.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("the relay to compare with did not start in 10 s")


@cache
def load_program() -> str:
    """The load generator, built from the workspace."""
    cargo = shutil.which("cargo") or "cargo"
    command = [cargo, "build", "--quiet", "--release", "-p", "ginnel-relay", "--bin", "ginnel-derp-load"]
    subprocess.run(command, cwd=ROOT, check=True)
    return str(ROOT / "target/release/ginnel-derp-load")


@contextmanager
def load(relay: Running, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The generator, logged in and waiting for a line on stdin."""
    command = [load_program(), f"127.0.0.1:{relay.tls}", "--name", "127.0.0.1", *options]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            if process.stdout.readline().strip() != "ready":
                raise RuntimeError("the load generator could not log in")
            yield process
        finally:
            process.stdin.close()
            process.wait(90)


def run_load(process: subprocess.Popen[str]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    answer: dict[str, Any] = json.loads(process.stdout.readline())
    return answer
