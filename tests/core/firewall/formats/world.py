"""A host and a far machine, each in a namespace, joined by one wire; what passes between them is tried with sockets.

    host 192.0.2.1, 2001:db8:f::1 ------ far 192.0.2.2, 2001:db8:f::2

The host denies by default what a test makes it deny. A probe that must not pass is sent before one that must: on one
wire the second cannot overtake the first, so nobody waits for something not to come.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
from collections.abc import Iterator
from functools import partial
from itertools import takewhile
from pathlib import Path

from ginnel.lab.namespace import Inside, enter_network

GENEROUS = 20.0
HOST, FAR = ("192.0.2.1", "2001:db8:f::1"), ("192.0.2.2", "2001:db8:f::2")
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}


class World:
    def __init__(self) -> None:
        self.names = {place: f"gr-{os.getpid()}-{place}" for place in ("host", "far")}
        self.inside: dict[str, Inside] = {}

    def build(self) -> None:
        for name in self.names.values():
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        host, far = self.names.values()
        ip("link", "add", "eth0", "netns", host, "type", "veth", "peer", "name", "eth0", "netns", far)
        for (place, name), addresses in zip(self.names.items(), (HOST, FAR), strict=True):
            self.inside[place] = Inside(name, partial(enter_network, name))
            self.inside[place].sysctls({f"net/ipv6/conf/{which}/accept_dad": "0" for which in ("all", "eth0")})
            ip("-n", name, "addr", "add", f"{addresses[0]}/24", "dev", "eth0")
            ip("-n", name, "addr", "add", f"{addresses[1]}/64", "dev", "eth0", "nodad")
            ip("-n", name, "link", "set", "eth0", "up")

    def host(self, *argv: str, stdin: str = "") -> str:
        return self.inside["host"].run(argv, stdin)

    def script(self, text: str, *arguments: str) -> str:
        """A shell script in the host's network and a mount namespace of its own, whose /run is empty."""
        text = f"set -e\nmount -t tmpfs tmpfs /run\nmkdir /run/lock\n{text}"
        argv = ["unshare", "-m", "sh", "-c", text, "sh", *arguments]
        environment = {"PATH": "/usr/sbin:/sbin:/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        done = self.inside["host"].call(
            subprocess.run, argv, capture_output=True, text=True, timeout=300, check=False, env=environment
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return str(done.stdout)

    def socket(self, place: str, kind: socket.SocketKind, port: int, family: int) -> socket.socket:
        addresses = HOST if place == "host" else FAR
        made = self.inside[place].socket(kind, (addresses[family == 6], port), FAMILY[family])
        made.settimeout(GENEROUS)
        return made

    def close(self) -> None:
        for inside in self.inside.values():
            inside.close()
        for name in self.names.values():
            with contextlib.suppress(subprocess.CalledProcessError):
                ip("netns", "del", name)


def ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], capture_output=True, text=True, check=True).stdout


@contextlib.contextmanager
def world() -> Iterator[World]:
    made = World()
    try:
        made.build()
        yield made
    finally:
        made.close()


def program(name: str) -> str:
    """Its path: tests may run with a short PATH, and these live in /usr/sbin."""
    for place in ("/usr/sbin", "/sbin", "/usr/bin", "/bin"):
        if (path := Path(place) / name).exists():
            return str(path)
    raise AssertionError(f"{name} is not installed: run scripts/system-packages")


def commands(text: str, lead: str) -> str:
    """The commands of a comment below the line that begins with lead, as a person would copy them."""
    lines = iter(text.splitlines())
    assert any(line.startswith(f"# {lead}") for line in lines), f"{lead!r} is not told"
    told = [line.removeprefix("#   ") for line in takewhile(lambda line: line.startswith("#   "), lines)]
    assert told
    return "\n".join(told)


def inside_the_mesh(text: str, interface: str) -> str:
    """The file with the lines about the mesh's interface uncommented, as if that were the one named."""
    changed = re.sub(r"^(\t*)# (.*\bginnel0\b|.*firewall-cmd .*ginnel-mesh.*)", r"\1\2", text, flags=re.M)
    assert changed != text
    return changed.replace("ginnel0", interface)


# --- what must pass, and what must not -------------------------------------------------------------------------------


def what_passes(world: World, family: int) -> None:
    """Everything that the plan names gets out and is answered; nothing else does."""
    with contextlib.ExitStack() as stack:
        listeners = {port: stack.enter_context(listening(world, port, family)) for port in (22, 80, 443)}
        ssh = stack.enter_context(world.socket("host", socket.SOCK_STREAM, 0, family))
        ssh.setblocking(False)
        with contextlib.suppress(OSError):
            ssh.connect((FAR[family == 6], 22))
        for port in (443, 80):
            with world.socket("host", socket.SOCK_STREAM, 0, family) as client:
                client.connect((FAR[family == 6], port))
                server, _ = listeners[port].accept()
                with server:
                    server.sendall(b"hello")
                assert client.recv(5) == b"hello"
        listeners[22].setblocking(False)
        assert not arrived(listeners[22].accept), "TCP 22 got out, which nobody allowed"
    udp_passes(world, family, source=0, port=3478)
    udp_passes(world, family, source=41641, port=5000)
    errors_come_back(world, family)
    assert not udp_gets_out(world, family, source=40000, port=5000), "UDP from another port got out"


def listening(world: World, port: int, family: int) -> socket.socket:
    listener = world.socket("far", socket.SOCK_STREAM, port, family)
    listener.listen()
    return listener


def udp_passes(world: World, family: int, source: int, port: int) -> None:
    with (
        world.socket("host", socket.SOCK_DGRAM, source, family) as mine,
        world.socket("far", socket.SOCK_DGRAM, port, family) as theirs,
    ):
        mine.sendto(b"out", theirs.getsockname())
        _, sender = theirs.recvfrom(10)
        theirs.sendto(b"back", sender)
        assert mine.recv(10) == b"back"


def errors_come_back(world: World, family: int) -> None:
    """ICMP about a flow gets in past a default deny: a closed port's refusal, as a router's `fragmentation needed`."""
    with world.socket("host", socket.SOCK_DGRAM, 41641, family) as mine:
        mine.connect((FAR[family == 6], 9))
        mine.send(b"out")
        try:
            mine.recv(10)
        except ConnectionRefusedError:
            return
        raise AssertionError("the far machine's ICMP error did not come back")


def udp_gets_out(world: World, family: int, source: int, port: int) -> bool:
    with (
        world.socket("host", socket.SOCK_DGRAM, source, family) as mine,
        world.socket("far", socket.SOCK_DGRAM, port, family) as theirs,
    ):
        with contextlib.suppress(PermissionError):
            mine.sendto(b"out", theirs.getsockname())
        udp_passes(world, family, source=41641, port=5001)
        theirs.setblocking(False)
        return arrived(lambda: theirs.recv(10))


def what_gets_in(world: World, family: int) -> None:
    """A stranger reaches the tunnel's port, and no other."""
    with (
        world.socket("host", socket.SOCK_DGRAM, 41641, family) as open_port,
        world.socket("host", socket.SOCK_DGRAM, 41642, family) as shut_port,
        world.socket("far", socket.SOCK_DGRAM, 7777, family) as stranger,
    ):
        stranger.sendto(b"in", shut_port.getsockname())
        stranger.sendto(b"in", open_port.getsockname())
        assert open_port.recv(10) == b"in"
        shut_port.setblocking(False)
        assert not arrived(lambda: shut_port.recv(10)), "a port that nobody allowed is open"


def arrived(receive: object) -> bool:
    try:
        receive()  # type: ignore[operator]
    except BlockingIOError:
        return False
    return True


def everything_passes(world: World, family: int) -> None:
    """What no rule of the plan names passes both ways."""
    for here, there in (("host", "far"), ("far", "host")):
        addresses = HOST if there == "host" else FAR
        with (
            world.socket(there, socket.SOCK_STREAM, 2222, family) as listener,
            world.socket(here, socket.SOCK_STREAM, 0, family) as client,
        ):
            listener.listen()
            client.connect((addresses[family == 6], 2222))
