"""Threat G11: whatever happens to the daemon, nothing meant for a peer leaves by a real interface in the clear.

The wire is that of two_hosts.py; a capture listens on alice's eth0 while she sends without pause.
"""

import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.test_two_nodes import pytestmark
from tests.lab.two_hosts import GENEROUS, Mesh, fresh_mesh, ip, until

__all__ = ["pytestmark"]
CANARY = "in-the-clear"
CAPTURE = f"""
import socket
listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
listener.bind(("eth0", 0))
print(flush=True)
while True:
    frame, (_, _, kind, _, _) = listener.recvfrom(65536)
    if b"{CANARY}" in frame:
        print(frame[12:54].hex(), flush=True)
    if b"end-of-capture" in frame:
        print("end", flush=True)
"""
SOURCE = f"""
import socket, time
four, six = (socket.socket(family, socket.SOCK_DGRAM) for family in (socket.AF_INET, socket.AF_INET6))
PLACES = [(four, "100.64.0.1"), (four, "100.64.0.2"), (six, "fd7a:115c:a1e0::1"), (six, "fd7a:115c:a1e0::2"),
          (four, "100.64.0.3"), (six, "fd7a:115c:a1e0::3")]
while True:
    for source, address in (*PLACES, (four, "100.100.100.100")):
        try:
            source.sendto(b"{CANARY}", (address, 9))
        except OSError:
            pass
    time.sleep(0.002)
"""
FIRST_SIGHT = f"""
import json, signal, socket, sys
signal.alarm(60)
source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
seen = set()
print(flush=True)
while True:
    try:
        api = socket.socket(socket.AF_UNIX)
        api.connect(sys.argv[1])
        api.sendall(b"GET /localapi/v0/status HTTP/1.1\\r\\nHost: local-ginneld.sock\\r\\n"
                    b"Connection: close\\r\\n\\r\\n")
        answer = b"".join(iter(lambda: api.recv(65536), b""))
    except OSError:
        continue
    _, _, body = answer.partition(b"\\r\\n\\r\\n")
    if b"200" not in answer[:15]:
        sys.exit(repr(answer[:300]))
    for peer in (json.loads(body[body.index(b"{{"):body.rindex(b"}}") + 1]).get("Peer") or {{}}).values():
        for address in peer["TailscaleIPs"]:
            if "." in address and address not in seen:
                seen.add(address)
                try:
                    source.sendto(b"{CANARY}", (address, 9))
                except OSError:
                    pass
                print(address, flush=True)
"""


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with fresh_mesh() as standing:
        for space, number, device in ((standing.server, 1, "br0"), (standing.a, 11, "eth0")):
            ip("-n", space.name, "addr", "add", f"2001:db8::{number}/64", "dev", device, "nodad")
        ip("-n", standing.a.name, "-6", "route", "add", "default", "via", "2001:db8::1")
        standing.b.start()
        assert standing.b.ginnel("up", "--invite", standing.invite(), "--hostname", "bob").returncode == 0
        standing.a.start()
        yield standing


@contextmanager
def capture(mesh: Mesh) -> Iterator[list[str]]:
    """What was seen in the clear; complete when the block has ended."""
    seen: list[str] = []
    end = "import socket; socket.socket(2, 2).sendto(b'end-of-capture', ('192.0.2.1', 9))"
    with subprocess.Popen(mesh.a.command(CAPTURE), stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        listener.stdout.readline()
        try:
            yield seen
            subprocess.run(mesh.a.command(end), check=True, timeout=GENEROUS)
            seen += iter(lambda: listener.stdout.readline().strip(), "end")
        finally:
            listener.kill()


@contextmanager
def sending(mesh: Mesh, code: str, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(mesh.a.command(code, *arguments), stdout=subprocess.PIPE, text=True) as source:
        try:
            yield source
        finally:
            source.kill()


def up(mesh: Mesh) -> None:
    assert mesh.a.ginnel("up", "--invite", mesh.invite(), "--hostname", "alice").returncode == 0


def test_the_capture_sees_what_does_go_out_in_the_clear(mesh: Mesh) -> None:
    with capture(mesh) as seen, sending(mesh, SOURCE):
        until(lambda: mesh.a.status()["BackendState"] == "NeedsLogin", "the daemon answers, nobody has logged in")
    assert {frame[:4] for frame in seen} == {"0800", "86dd"}


def test_a_peer_that_is_shown_is_routed(mesh: Mesh) -> None:
    with capture(mesh) as seen, sending(mesh, FIRST_SIGHT, mesh.a.socket) as source:
        assert source.stdout is not None
        source.stdout.readline()
        up(mesh)
        assert source.stdout.readline().strip() == "100.64.0.1"
        carol = mesh.join("c", "192.0.2.13/24")
        carol.start()
        assert carol.ginnel("up", "--invite", mesh.invite(), "--hostname", "carol").returncode == 0
        assert source.stdout.readline().strip() == "100.64.0.3"
    assert seen == []


def test_nothing_goes_out_in_the_clear_while_the_daemon_is_killed_restarted_or_rekeyed(mesh: Mesh) -> None:
    until(lambda: mesh.a.ping("100.64.0.1"), "the tunnel works")
    with capture(mesh) as seen, sending(mesh, SOURCE):
        mesh.a.stop(signal.SIGKILL)
        mesh.a.start()
        until(lambda: mesh.a.ping("100.64.0.1"), "the tunnel works again")
        subprocess.run(["ip", "-n", mesh.a.name, "addr", "add", "198.51.100.7/24", "dev", "eth0"], check=True)
        subprocess.run(["ip", "-n", mesh.a.name, "link", "set", "ginnel0", "down"], check=True)
        until(lambda: mesh.a.ping("100.64.0.1"), "the interface is up again")
        done = mesh.a.ginnel("up", "--invite", mesh.invite(), "--hostname", "alice", "--force-reauth")
        assert done.returncode == 0, done.stderr
        until(lambda: mesh.a.ping("100.64.0.1"), "the tunnel works with another key")
    assert seen == []


def test_a_clean_stop_leaves_no_route_behind(mesh: Mesh) -> None:
    mesh.a.stop()
    for family in ("-4", "-6"):
        listed = subprocess.run(
            ["ip", "-n", mesh.a.name, family, "route", "show", "table", "all"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "table 52" not in listed.stdout
    assert mesh.a.rules() == []
