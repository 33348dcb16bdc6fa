"""Two hosts and a server with its relay, each in a network namespace, on one wire:

gn-PID-a 192.0.2.11 ---+
                       +--- bridge 192.0.2.1: server, relay, STUN (gn-PID-s)
gn-PID-b 192.0.2.12 ---+
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

GENEROUS = 30.0
MAIN = "from ginnel.cli.main import main; main()"
DAEMON = "from ginnel.cli.ginneld import main; main()"


def run(*command: str, timeout: float = GENEROUS) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


def until(true: Callable[[], Any], what: str) -> Any:
    """Poll real programs, of which nothing else can be waited for."""
    end = time.monotonic() + GENEROUS
    while time.monotonic() < end:
        if found := true():
            return found
        time.sleep(0.05)
    raise AssertionError(f"not within {GENEROUS} s: {what}")


class Host:
    """One namespace and, where one was started, its daemon."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = f"gn-{os.getpid()}-{name}"
        self.directory = directory
        self.short = name
        self.socket = str(directory / f"{name}.sock")
        self.daemon: subprocess.Popen[bytes] | None = None
        ip("netns", "add", self.name)
        ip("-n", self.name, "link", "set", "lo", "up")

    def command(self, code: str, *arguments: str) -> list[str]:
        return ["ip", "netns", "exec", self.name, sys.executable, "-c", code, *arguments]

    def ginnel(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run(*self.command(MAIN, *arguments, "--socket", self.socket))

    def up(self, invite: str, name: str) -> None:
        """The daemon runs, and is on the mesh by that name."""
        self.start()
        done = self.ginnel("up", "--invite", invite, "--hostname", name, "--timeout", "30s")
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.endswith("Success.\n"), done.stdout + done.stderr

    def status(self) -> dict[str, Any]:
        done = self.ginnel("status", "--json")
        return json.loads(done.stdout) if done.stdout.startswith("{") else {"BackendState": done.stderr}

    def start(self, *arguments: str) -> None:
        command = self.command(
            DAEMON, "--state", str(self.directory / f"{self.short}-state"), "--socket", self.socket, "-v", *arguments
        )
        with (self.directory / f"{self.short}.log").open("ab") as log:
            self.daemon = subprocess.Popen(command, stdout=log, stderr=log)
        until(lambda: "BackendState" in self.ginnel("status", "--json").stdout, "the daemon answers")

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.daemon is not None:
            self.daemon.send_signal(number)
            self.daemon.wait(GENEROUS)
            self.daemon = None

    def rules(self) -> list[int]:
        listed = json.loads(ip("-n", self.name, "-j", "rule"))
        return [rule["priority"] for rule in listed if 5000 < rule["priority"] < 6000]

    def ping(self, address: str) -> bool:
        return run("ip", "netns", "exec", self.name, "ping", "-n", "-c", "1", "-W", "5", address).returncode == 0


class Mesh:
    """The server with its relay and two hosts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.hosts: list[Host] = []
        self.server_process: subprocess.Popen[bytes] | None = None
        self.server = self._host("s")
        self.a, self.b = self._host("a"), self._host("b")
        self._wire()

    def _host(self, name: str) -> Host:
        host = Host(name, self.directory)
        self.hosts.append(host)
        return host

    def _wire(self) -> None:
        server = self.server.name
        ip("-n", server, "link", "add", "br0", "type", "bridge")
        ip("-n", server, "link", "set", "br0", "up")
        ip("-n", server, "addr", "add", "192.0.2.1/24", "dev", "br0")
        for host, address in ((self.a, "192.0.2.11/24"), (self.b, "192.0.2.12/24")):
            self._plug_in(host, address)

    def _plug_in(self, host: Host, address: str) -> None:
        server, port = self.server.name, f"p{host.short}"
        ip("link", "add", "eth0", "netns", host.name, "type", "veth", "peer", "name", port, "netns", server)
        ip("-n", server, "link", "set", port, "master", "br0", "up")
        ip("-n", host.name, "addr", "add", address, "dev", "eth0")
        ip("-n", host.name, "link", "set", "eth0", "up")
        ip("-n", host.name, "route", "add", "default", "via", "192.0.2.1")

    def join(self, name: str, address: str) -> Host:
        """Another host on the wire."""
        host = self._host(name)
        self._plug_in(host, address)
        return host

    def start_server(self) -> None:
        state = str(self.directory / "srv")
        with (self.directory / "server.log").open("ab") as log:
            self.server_process = subprocess.Popen(
                self.server.command(
                    MAIN, "server", "run", "--state", state, "--url", "https://192.0.2.1", "--listen", "192.0.2.1:443",
                    "--listen-http", "192.0.2.1:80", "--stun-listen", "192.0.2.1:3478", "--quiet",
                ), stdout=log, stderr=log,
            )  # fmt: skip
        until(self._listening, "the server listens")

    def _listening(self) -> bool:
        assert self.server_process is not None
        assert self.server_process.poll() is None, (self.directory / "server.log").read_text()
        return ":443" in run("ip", "netns", "exec", self.server.name, "ss", "-ltn").stdout and bool(self.invite())

    def stop_server(self) -> None:
        if self.server_process is not None:
            self.server_process.terminate()
            self.server_process.wait(GENEROUS)
            self.server_process = None

    def invite(self) -> str:
        done = run(*self.server.command(MAIN, "server", "invite", "--state", str(self.directory / "srv")))
        found = re.search(r"ginnel-invite1:\S+", done.stdout)
        return found.group() if found else ""

    def close(self) -> None:
        for host in self.hosts:
            host.stop()
        self.stop_server()
        for host in self.hosts:
            subprocess.run(["ip", "netns", "del", host.name], check=False)


@contextmanager
def fresh_mesh() -> Iterator[Mesh]:
    """The server runs; hosts a and b wait. Whoever fails inside sees the programs' last words."""
    directory = Path(tempfile.mkdtemp(prefix="gn"))
    standing = Mesh(directory)
    try:
        standing.start_server()
        yield standing
    except BaseException:
        for log in sorted(directory.glob("*.log")):
            sys.stderr.write(f"--- {log.name}\n{log.read_text()[-4000:]}")
        raise
    finally:
        standing.close()
        shutil.rmtree(directory)


@contextmanager
def joined_mesh(*names: str) -> Iterator[Mesh]:
    """Host a, or both, are on the mesh by these names; of two the first sees the second."""
    with fresh_mesh() as standing:
        for host, name in zip((standing.a, standing.b), names, strict=False):
            host.up(standing.invite(), name)
        if len(names) > 1:
            until(lambda: standing.a.status().get("Peer"), f"{names[0]} sees {names[1]}")
        yield standing
