"""A relay that is replaced by another while clients come: nobody is refused. The test plays systemd."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from configparser import RawConfigParser
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from ginnel.shell import systemd
from ginnel.shell.control.config import read_config
from ginnel.shell.relay import EmbeddedRelay
from tests.shell.control.control_client import until
from tests.shell.derp_client import LIMIT, UPGRADE, connect, login, tls_context
from tests.shell.relays import NOW
from tests.shell.test_relay import REQUEST, ask, settings

ROOT = Path(__file__).parents[2]
START = (
    "import os, sys; os.environ['LISTEN_PID'] = str(os.getpid());"
    "given = sys.argv.pop(1).split(','); [os.dup2(int(fd), 3 + n) for n, fd in enumerate(given)];"
    "sys.argv[1:1] = ['relay', 'run'];"
    "from ginnel.cli.main import main; main()"
)


class Service:
    """The sockets, and the processes that get them one after the other."""

    def __init__(self, here: Path) -> None:
        self.here = here
        self.tcp = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.udp.bind(("127.0.0.1", 0))
        self.notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notified.bind(str(here / "notify"))
        self.notified.settimeout(2 * LIMIT)
        self.port = int(self.tcp.getsockname()[1])

    def start(self) -> subprocess.Popen[bytes]:
        listen = ["--listen", f"127.0.0.1:{self.port}", "--stun", f"127.0.0.1:{self.udp.getsockname()[1]}"]
        arguments = ["--hostname", "127.0.0.1", *listen, "--http", "none", "--state", str(self.here / "state")]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "src"),
            "LISTEN_FDS": "2",
            "NOTIFY_SOCKET": str(self.here / "notify"),
        }
        given = [os.dup(self.tcp.fileno()), os.dup(self.udp.fileno())]

        try:
            return subprocess.Popen(
                [sys.executable, "-c", START, ",".join(map(str, given)), *arguments],
                env=environment,
                pass_fds=given,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        finally:
            for descriptor in given:
                os.close(descriptor)

    def says(self) -> bytes:
        return self.notified.recv(1000)

    def close(self) -> None:
        for one in (self.tcp, self.udp, self.notified):
            one.close()


@asynccontextmanager
async def service(here: Path) -> AsyncIterator[Service]:
    made = Service(here)
    try:
        yield made
    finally:
        made.close()


async def test_no_attempt_to_connect_is_lost_while_one_relay_follows_another(tmp_path: Path) -> None:
    async with service(tmp_path) as held:
        first = held.start()
        second = None
        try:
            assert await asyncio.to_thread(held.says) == b"READY=1"
            key = await _key(held.port)
            stop, come = asyncio.Event(), 0

            async def keep_coming() -> None:
                nonlocal come
                while not stop.is_set():
                    async with login(held.port, key) as client:
                        come += 1  # that far everybody has to come; what was begun may end with the relay
                        with suppress(ConnectionError, asyncio.IncompleteReadError):
                            await client.settle()

            async with asyncio.TaskGroup() as comers, login(held.port, key) as old:
                coming = [comers.create_task(keep_coming()) for _ in range(4)]
                await until(lambda: come >= 8)
                first.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(held.says) == b"STOPPING=1"
                assert await asyncio.to_thread(first.wait, LIMIT) == 0
                assert await old.ended()
                before = come
                second = held.start()
                assert await asyncio.to_thread(held.says) == b"READY=1"
                await until(lambda: come >= before + 8)
                stop.set()
            assert all(task.exception() is None for task in coming)
            assert await asyncio.to_thread(ask, ("127.0.0.1", held.udp.getsockname()[1]), socket.AF_INET, REQUEST)
        finally:
            for process in (first, second):
                if process is not None:
                    process.kill()
                    process.wait()


async def _key(port: int) -> bytes:
    async with connect(port, tls=tls_context()) as raw:
        await raw.send(UPGRADE + b"Derp-Fast-Start: 1\r\n\r\n")
        return (await raw.expect(1))[8:]


async def test_who_is_about_to_log_in_when_the_relay_ends_still_does(tmp_path: Path) -> None:
    relay = EmbeddedRelay.start(settings(tmp_path, members_only=False), NOW)
    at = relay.native.addresses()["tls"][0][1]
    async with connect(at, tls=tls_context()) as half:
        await until(lambda: relay.native.half_open() == 1)
        ending = asyncio.create_task(relay.retire())
        await until(lambda: not _answers(at))
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(ending), 0.2)
        await half.send(UPGRADE + b"\r\n")
        assert (await half.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        half.writer.transport.abort()
        await asyncio.wait_for(ending, LIMIT)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def test_sockets_for_another_process_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_FDS", "1")
    monkeypatch.setenv("LISTEN_PID", str(os.getpid() + 1))
    assert systemd.inherited_sockets() == []


def test_nobody_hears_and_nothing_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for path in ("", "relative", str(tmp_path / "nobody"), "@ginnel-nobody"):
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        systemd.notify("READY=1")


@pytest.mark.parametrize("what", ["relay", "server"])
def test_the_units_name_what_the_command_knows(what: str) -> None:
    service = unit(f"ginnel-{what}.service")["Service"]
    command = service["ExecStart"].split()
    assert command[1:3] == [what, "run"]
    assert service["Type"] == "notify"
    told = subprocess.run(
        [sys.executable, "-c", "from ginnel.cli.main import main; main()", what, "run", "--help"],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for option in [word for word in command if word.startswith("--")]:
        assert option in told


def test_the_server_s_unit_is_hardened_as_the_relay_s_but_for_what_it_needs() -> None:
    relay, server = (dict(unit(f"ginnel-{what}.service")["Service"]) for what in ("relay", "server"))
    assert server["AmbientCapabilities"] == server["CapabilityBoundingSet"] == "CAP_NET_BIND_SERVICE"  # port 53
    assert "PrivateUsers" not in server  # root is known to the admin socket by its number
    assert "--quiet" in server["ExecStart"]  # an invite does not belong in the journal
    hardening = relay.keys() - {"PrivateUsers", "AmbientCapabilities", "CapabilityBoundingSet"}
    same = {name for name in hardening if server.get(name) == relay[name]}
    assert hardening - same == {"EnvironmentFile", "ExecStart", "StateDirectory", "TimeoutStopSec"}


def test_the_socket_units_have_the_ports_that_are_listened_on_by_default() -> None:
    relay, server = (dict(unit(f"ginnel-{what}.socket")["Socket"]) for what in ("relay", "server"))
    assert relay == server
    config = read_config(None, {})
    ports = {text.rpartition(":")[2] for text in (*config.listen, *config.listen_http, *config.stun_listen)}
    text = (ROOT / "packaging/systemd/ginnel-server.socket").read_text()
    assert {line.partition("=")[2] for line in text.splitlines() if line.startswith("Listen")} == ports


def unit(name: str) -> RawConfigParser:
    found = RawConfigParser(strict=False)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    assert found.read(ROOT / "packaging/systemd" / name)
    return found
