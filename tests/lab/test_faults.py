"""What goes wrong for people: each is one line that says what to do, exit status 1, and nothing half-made stays.

          203.0.113.10
laptop ------ internet ------ desktop         all with public addresses; laptop is on the mesh, desktop is not
                 |
               server
"""

import json
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ginnel.lab.instance import Lab
from ginnel.lab.kinds import NODE_PORT, SERVER, network
from ginnel.lab.members import GinnelNode, Server, ginnel, program, surroundings
from ginnel.lab.processes import Process, until
from ginnel.shell.control.adminclient import call
from ginnel.shell.control.place import ADMIN_SOCKET, SPLICE_SOCKET

pytestmark = pytest.mark.root

LIMIT = 40.0
LAPTOP, DESKTOP, STRANGER = "laptop", "desktop", "stranger"
NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


class World:
    """A server, a node on its mesh, and a daemon that has not joined."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.server = Server(lab)
        self.server.start()
        self.laptop, self.desktop = GinnelNode(lab, LAPTOP), GinnelNode(lab, DESKTOP)
        self.laptop.start()
        self.desktop.start()
        self.laptop.up(self.server.invite)

    def run(self, host: str, *words: str) -> Process:
        process = ginnel(self.lab, host, f"{len(self.lab.processes)}-{words[0]}", *words)
        process.wait(LIMIT)
        return process

    def leave(self, host: str) -> None:
        assert self.run(host, "logout").ended() == 0
        self.server.ask("delete", "nodes", "delete", host)

    def key(self, *options: str) -> str:
        return self.server.ask("preauthkeys", "preauthkeys", "create", "--user", "default", *options)

    def addresses(self, host: str) -> list[str]:
        return self.run(host, "ip").said_now().split()

    def plain_url(self) -> str:
        return self.server.url.replace("https://", "http://")

    def prefs_of(self, host: str) -> Any:
        """What the daemon keeps, its keys included; the first server's address stays after a logout."""
        return json.loads((self.lab.directory / host / "state/ginneld.state").read_bytes())

    def status_of(self, host: str) -> str:
        return str(json.loads(self.run(host, "status", "--json").said_now())["BackendState"])

    def rules_of(self, host: str) -> str:
        return self.lab.spaces[host].run(["ip", "rule"])


def complaint(process: Process, began: int = 0) -> str:
    """The one line on stderr of a command that failed."""
    line = process.err.read_text()[began:]
    assert (process.ended(), line.count("\n")) == (1, 1), process.said()
    return line


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with Lab(network(**{LAPTOP: "none", DESKTOP: "none", STRANGER: "none"})) as lab:
        yield World(lab)


def expired_key(world: World) -> str:
    return world.key("--expiration", "0.001s")


def revoked_key(world: World) -> str:
    key = world.key()
    world.server.ask("revoke", "preauthkeys", "expire", key)
    return key


def spent_key(world: World) -> str:
    """One-shot, and a machine took it that is gone again."""
    key = world.key()
    joined = world.run(DESKTOP, "up", "--login-server", world.plain_url(), "--auth-key", key)
    assert joined.ended() == 0, joined.said()
    world.leave(DESKTOP)
    return key


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda _: "wrong", "invalid pre auth key; ask for a new invite or auth key"),
        (lambda world: world.key()[:-3] + "zzz", "invalid pre auth key; ask for"),
        (expired_key, "authkey expired; ask for"),
        (revoked_key, "; ask for"),
        (spent_key, "; ask for"),
    ],
)
def test_an_auth_key_that_is_no_good(world: World, make: Callable[[World], str], words: str) -> None:
    key = make(world)
    before = world.prefs_of(DESKTOP), world.rules_of(DESKTOP)
    line = complaint(world.run(DESKTOP, "up", "--login-server", world.plain_url(), "--auth-key", key))
    assert line.startswith(f"{world.plain_url()} refused this machine: ")
    assert words in line
    assert key not in line or key == "wrong"
    assert (world.prefs_of(DESKTOP), world.rules_of(DESKTOP)) == before
    assert len(json.loads(world.server.ask("nodes", "nodes", "list", "--json"))) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda invite: "hello", "expected an invite"),
        (lambda invite: invite[:-3], "cut short or changed"),
        (lambda invite: invite[:40] + ("A" if invite[40] != "A" else "B") + invite[41:], "another key than the invite"),
    ],
)
def test_an_invite_that_is_no_good(world: World, change: Callable[[str], str], words: str) -> None:
    line = complaint(world.run(DESKTOP, "up", "--invite", change(world.server.invite)))
    assert words in line
    assert "; ask for a new " in line
    assert world.status_of(DESKTOP) == "NeedsLogin"


def test_a_server_whose_certificate_nobody_vouches_for(world: World) -> None:
    line = complaint(world.run(DESKTOP, "up", "--login-server", world.server.url, "--auth-key", "x"))
    assert "certificate" in line
    assert "join by an invite" in line
    assert world.status_of(DESKTOP) == "NeedsLogin"


def test_a_server_that_is_down_and_comes_back(world: World) -> None:
    """The invite stays good: it was never shown to the server."""
    invite = world.server.ask("one-shot", "server", "invite")
    assert world.server.process is not None
    world.server.process.stop()
    line = complaint(world.run(DESKTOP, "up", "--invite", invite))
    assert "connection refused; check the address, and that the server runs" in line
    assert world.status_of(DESKTOP) == "NeedsLogin"
    world.server.start()
    until(lambda: world.server.online(world.addresses(LAPTOP)) or None, LIMIT, "the laptop to come back")
    assert world.run(DESKTOP, "up", "--invite", invite).ended() == 0
    world.leave(DESKTOP)


@pytest.mark.parametrize("words", [("ping", "nobody"), ("ip", "nobody"), ("whois", "100.64.9.9")])
def test_a_machine_that_the_mesh_does_not_know(world: World, words: tuple[str, ...]) -> None:
    assert "no machine of the mesh" in complaint(world.run(LAPTOP, *words))


@pytest.mark.parametrize("words", [("delete", "nobody"), ("expire", "99"), ("rename", "nobody", "somebody")])
def test_a_node_that_the_server_does_not_know(world: World, words: tuple[str, ...]) -> None:
    line = complaint(world.run(SERVER, "nodes", *words, "--state", world.server.state))
    assert "`ginnel nodes list` shows them" in line


def test_a_node_that_was_deleted_says_so_and_joins_again(world: World) -> None:
    world.server.ask("delete", "nodes", "delete", LAPTOP)
    until(lambda: world.run(LAPTOP, "status").ended() or None, LIMIT, "the laptop to notice")
    assert world.run(LAPTOP, "up", "--invite", world.server.invite).ended() == 0
    until(lambda: world.run(LAPTOP, "status").ended() == 0 or None, LIMIT, "the laptop to run")


def test_an_ordinary_user_may_look_and_not_touch(world: World) -> None:
    def as_nobody(*words: str) -> Process:
        name = f"{len(world.lab.processes)}-nobody"
        process = world.lab.start(LAPTOP, name, [*NOBODY, *program("main"), *words], surroundings())
        process.wait(LIMIT)
        return process

    if as_nobody("version").ended():
        pytest.skip("an ordinary user cannot read this installation")
    shown = as_nobody("status")
    assert (shown.ended(), shown.said_now().split()[1]) == (0, LAPTOP), shown.said()
    for words in (("up",), ("down",), ("logout",)):
        assert "sudo" in complaint(as_nobody(*words))
    assert world.run(LAPTOP, "status").ended() == 0


def test_a_second_server_on_the_same_state(world: World) -> None:
    line = complaint(world.run(SERVER, "server", "run", "--state", world.server.state))
    assert "another server uses" in line
    assert "--state" in line
    assert world.server.answers()


# --- garbage -------------------------------------------------------------------------------------------------------


def rubbish(seed: int) -> Iterator[bytes]:
    """Noise, and beginnings that look right."""
    chance = random.Random(seed)
    beginnings = (
        b"", b"\x16\x03\x01\x02\x00", b"GET /derp HTTP/1.1\r\nUpgrade: DERP\r\n\r\n", b"TS\xf0\x9f\x92\xac",
        b"\x00\x01\x00\x00\x21\x12\xa4\x42", b"\x01\x00\x00\x00", b"\x04\x00\x00\x00", b"POST /ts2021 HTTP/1.1\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\r\n\r\n\x00\r\nQUIT\n",
    )  # fmt: skip
    while True:
        yield chance.choice(beginnings) + chance.randbytes(chance.randrange(1, 1200))


def pour_datagrams(source: socket.socket, targets: list[tuple[str, int]], count: int) -> None:
    parts = rubbish(1)
    for _ in range(count):
        for target in targets:
            source.sendto(next(parts), target)


def pour_streams(connect: Callable[[], socket.socket], count: int, seed: int) -> None:
    """Write, and read until the other side is done with us; a refusal in any form is an answer."""
    parts = rubbish(seed)
    for number in range(count):
        with connect() as stream, suppress(OSError):
            stream.settimeout(0.2)
            stream.sendall(next(parts))
            if number % 2:
                stream.shutdown(socket.SHUT_WR)
            stream.recv(65536)


def tcp(world: World, port: int) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        made = world.lab.spaces[STRANGER].call(socket.socket)
        made.settimeout(LIMIT)
        made.connect((world.lab.addresses[SERVER], port))
        return made

    return connect


def unix(path: Path) -> Callable[[], socket.socket]:
    def connect() -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.settimeout(LIMIT)
        made.connect(os.fspath(path))
        return made

    return connect


def test_garbage_on_every_port_disturbs_nobody(world: World) -> None:
    lab = world.lab
    assert world.run(DESKTOP, "up", "--invite", world.server.invite, "--hostname", DESKTOP).ended() == 0
    until(lambda: world.run(LAPTOP, "ping", "-c", "3", DESKTOP).ended() == 0 or None, LIMIT, "the pair to be direct")
    before, served = inside(world), info(world)
    source = lab.spaces[STRANGER].socket(socket.SOCK_DGRAM, ("0.0.0.0", 0))
    targets = [
        (lab.addresses[SERVER], 3478), (lab.addresses[LAPTOP], NODE_PORT), (lab.addresses[DESKTOP], NODE_PORT),
    ]  # fmt: skip
    state = lab.directory / SERVER / "state"
    doors = [
        tcp(world, 443), tcp(world, 80), unix(lab.directory / LAPTOP / "run/ginnel/ginneld.sock"),
        unix(state / ADMIN_SOCKET), unix(state / SPLICE_SOCKET),
    ]  # fmt: skip
    pouring = [threading.Thread(target=pour_datagrams, args=(source, targets, 2000))]
    pouring += [threading.Thread(target=pour_streams, args=(door, 40, seed)) for seed, door in enumerate(doors)]
    for thread in pouring:
        thread.start()
    while any(thread.is_alive() for thread in pouring):
        pinged = world.run(LAPTOP, "ping", "-c", "1", "--timeout", "5s", DESKTOP)
        assert (pinged.ended(), " via " in pinged.said_now()) == (0, True), pinged.said()
    source.close()
    after = inside(world)
    assert dropped(after) >= dropped(before) + 1000, (before, after)
    assert world.server.online(world.addresses(LAPTOP) + world.addresses(DESKTOP))
    assert info(world)["streams"] == served["streams"]
    for process in (world.server.process, world.laptop.daemon, world.desktop.daemon):
        assert process is not None
        assert process.ended() is None
        assert "Traceback" not in process.said()


def inside(world: World) -> dict[str, Any]:
    """The daemon's counters."""
    with unix(world.lab.directory / LAPTOP / "run/ginnel/ginneld.sock")() as asked:
        asked.sendall(b"GET /localapi/v0/debug-inside HTTP/1.1\r\nHost: local-ginneld.sock\r\n\r\n")
        answer = b"".join(iter(lambda: asked.recv(65536), b""))
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return found


def dropped(found: dict[str, Any]) -> int:
    """Packets that were counted under a reason for which they were dropped."""
    pump = sum(n for name, n in found["Pump"].items() if name.startswith(("handshake.", "wireguard.")))
    pump += sum(found["Pump"][f"udp.{name}"] for name in ("malformed", "short", "geneve"))
    return pump + sum(found["Drops"].values())


def info(world: World) -> dict[str, Any]:
    found: dict[str, Any] = call(world.lab.directory / SERVER / "state" / ADMIN_SOCKET, "server.info", {})
    return found
