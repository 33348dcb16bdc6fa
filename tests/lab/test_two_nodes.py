"""Two daemons and a server with its relay: the commands, the tunnel, and what is left when they stop. The wire is that
of two_hosts.py."""

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ginnel.wire.invite import encode_invite, parse_invite
from tests.lab.two_hosts import DAEMON, GENEROUS, Host, Mesh, ip, joined_mesh, run, until

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces")]

RULES = [5210, 5230, 5250, 5270]


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with joined_mesh("alice", "bob") as standing:
        yield standing


def peer_of(host: Host) -> dict[str, Any]:
    (peer,) = host.status()["Peer"].values()
    return peer


def test_a_ping_names_the_direct_path(mesh: Mesh) -> None:
    done = mesh.a.ginnel("ping", "bob")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^pong from bob \(100\.64\.0\.2\) via 192\.0\.2\.12:41641 in \d+ms$", done.stdout, re.M)


def test_the_tunnel_carries_both_families(mesh: Mesh) -> None:
    assert mesh.a.ping("100.64.0.2")
    assert mesh.b.ping("fd7a:115c:a1e0::1")


def test_status_says_direct_and_counts(mesh: Mesh) -> None:
    assert mesh.a.ping("100.64.0.2")
    peer = peer_of(mesh.a)
    assert (peer["CurAddr"], peer["Active"], peer["Relay"]) == ("192.0.2.12:41641", True, "own")
    assert min(peer["TxBytes"], peer["RxBytes"]) > 0
    assert peer["LastHandshake"] > "2020"
    assert re.search(
        r"^100\.64\.0\.2 +bob +default +linux +active; direct 192\.0\.2\.12:41641, tx \d+ rx \d+ *$",
        mesh.a.ginnel("status").stdout,
        re.M,
    )


RECEIVE = """
import socket, sys
listener = socket.create_server(("100.64.0.2", 9000))
print(flush=True)
connection, _ = listener.accept()
sys.stdout.buffer.write(b"".join(iter(lambda: connection.recv(65536), b"")))
"""
SEND = """
import socket, sys
with socket.create_connection(("100.64.0.2", 9000), 20) as connection:
    connection.sendall(sys.stdin.buffer.read())
"""
HOLD = """
import socket, sys
held = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
held.bind(("0.0.0.0", 41641))
print(flush=True)
sys.stdin.read()
"""


def test_tcp_flows_through_the_tunnel(mesh: Mesh) -> None:
    sent = os.urandom(4 << 20)
    with subprocess.Popen(mesh.b.command(RECEIVE), stdout=subprocess.PIPE) as receiver:
        assert receiver.stdout is not None
        receiver.stdout.readline()
        subprocess.run(mesh.a.command(SEND), input=sent, check=True, timeout=GENEROUS)
        got, _ = receiver.communicate(timeout=GENEROUS)
    assert got == sent


def test_own_packets_never_go_into_the_tunnel(mesh: Mesh) -> None:
    assert mesh.a.rules() == RULES
    assert "100.64.0.2 dev ginnel0" in ip("-n", mesh.a.name, "route", "show", "table", "52")


def test_ip_whois_and_netcheck(mesh: Mesh) -> None:
    assert mesh.a.ginnel("ip", "-4").stdout == "100.64.0.1\n"
    assert mesh.a.ginnel("ip", "bob").stdout == "100.64.0.2\nfd7a:115c:a1e0::2\n"
    assert "Name:          bob.mesh.internal" in mesh.a.ginnel("whois", "100.64.0.2").stdout
    assert mesh.a.ginnel("whois", "100.64.9.9").returncode == 1
    report = mesh.a.ginnel("netcheck", "--format", "json")
    assert json.loads(report.stdout)["PreferredDERP"] == 900, report.stderr
    assert "Nearest DERP: Own relay" in mesh.a.ginnel("netcheck").stdout


def test_the_debug_commands_find_everything_in_order(mesh: Mesh) -> None:
    regions = json.loads(mesh.a.ginnel("debug", "derp-map").stdout)["Regions"]
    assert regions["900"]["RegionCode"] == "own"
    relay = mesh.a.ginnel("debug", "derp", "own")
    found = json.loads(relay.stdout)
    assert (relay.returncode, found["Errors"]) == (0, []), found
    assert any("showed its key 5 times" in line for line in found["Info"]), found
    assert any("STUN" in line and "192.0.2.11" in line for line in found["Info"]), found
    assert any("204" in line for line in found["Info"]), found
    assert mesh.a.ginnel("debug", "ts2021").stdout.endswith("all good\n")
    assert mesh.a.ginnel("debug", "derp", "nowhere").returncode == 1


BLOCK_DIRECT = (
    "add table ip gn; add chain ip gn out { type filter hook output priority 0; };"
    "add rule ip gn out ip daddr 192.0.2.11-192.0.2.12 meta l4proto udp drop"  # other ports would be found
)


def test_the_relay_carries_what_no_direct_path_does(mesh: Mesh) -> None:
    for host in (mesh.a, mesh.b):
        subprocess.run(["ip", "netns", "exec", host.name, "nft", BLOCK_DIRECT], check=True)
    try:
        done = mesh.a.ginnel("ping", "-c", "15", "--no-until-direct", "--timeout", "2s", "bob")
        assert "via DERP(own)" in done.stdout, done.stdout
        until(lambda: not peer_of(mesh.a)["CurAddr"], "the dead path is given up")
        assert mesh.a.ping("100.64.0.2")
        assert 'active; relay "own"' in mesh.a.ginnel("status").stdout
    finally:
        for host in (mesh.a, mesh.b):
            subprocess.run(["ip", "netns", "exec", host.name, "nft", "delete table ip gn"], check=True)
    until(lambda: mesh.a.ginnel("ping", "-c", "1", "bob").stdout.count("via 192.0.2.12"), "direct again")


UDP_SINK = """
import socket, time
sink = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sink.setsockopt(socket.SOL_IP, 15, 1)  # IP_FREEBIND: the address goes and comes with the daemon
sink.bind(("ADDRESS", 9001))
print(flush=True)
while True:
    sink.recv(2000)
    print(time.monotonic(), flush=True)
"""
UDP_SOURCE = """
import contextlib, socket, time
source = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
while True:
    with contextlib.suppress(OSError):
        source.sendto(b"x", ("ADDRESS", 9001))
    time.sleep(0.05)
"""


def one_way(source: Host, sink: Host, address: str, during: Callable[[], float]) -> float:
    """Datagrams go one way only while `during` runs and says from when on to count: seconds until one arrives."""
    hearing, sending = (
        sink.command(UDP_SINK.replace("ADDRESS", address)),
        source.command(UDP_SOURCE.replace("ADDRESS", address)),
    )
    with (
        subprocess.Popen(hearing, stdout=subprocess.PIPE, text=True) as hearer,
        subprocess.Popen(sending) as sender,
    ):
        try:
            assert hearer.stdout is not None
            assert hearer.stdout.readline() == "\n"
            assert hearer.stdout.readline(), "flows before"
            since = during()
            return next(float(line) for line in hearer.stdout if float(line) > since) - since
        finally:
            hearer.kill()
            sender.kill()


@pytest.mark.parametrize("talker", ["survivor", "restarted"])
def test_after_kill_9_traffic_flows_within_5_seconds_of_the_restart(mesh: Mesh, talker: str) -> None:
    """The last handshake is seconds old: the survivor must not go on with a dead session."""
    assert mesh.b.ping("100.64.0.1")

    def restart() -> float:
        mesh.a.stop(signal.SIGKILL)
        assert mesh.a.rules() == RULES  # what the kernel keeps
        mesh.a.start()
        until(lambda: mesh.a.status()["BackendState"] == "Running", "alice runs again without a login")
        return time.monotonic()

    ends = (mesh.b, mesh.a, "100.64.0.1") if talker == "survivor" else (mesh.a, mesh.b, "100.64.0.2")
    took = one_way(*ends, restart)
    assert took < 5.0
    assert mesh.a.rules() == RULES
    assert mesh.a.ping("100.64.0.2")


def test_down_leaves_nothing_and_up_needs_no_login(mesh: Mesh) -> None:
    assert mesh.a.ginnel("down").returncode == 0
    until(lambda: mesh.a.rules() == [], "the rules are gone")
    stopped = mesh.a.ginnel("status")
    assert (stopped.returncode, "stopped" in stopped.stdout) == (1, True)
    assert mesh.a.ginnel("up", "--timeout", "30s").stdout.endswith("Success.\n")
    until(lambda: mesh.a.ping("100.64.0.2"), "traffic flows again")


def test_a_restart_of_the_server_needs_no_login(mesh: Mesh) -> None:
    mesh.stop_server()
    until(lambda: any("no connection to" in line for line in mesh.a.status()["Health"]), "the loss is told")
    assert mesh.a.ping("100.64.0.2")  # the last map stays in force
    mesh.start_server()
    until(lambda: not any("no connection to" in line for line in mesh.a.status()["Health"]), "the map is back")


def test_a_second_daemon_on_the_same_socket_is_refused(mesh: Mesh) -> None:
    done = run(*mesh.a.command(DAEMON, "--state", str(mesh.directory / "other"), "--socket", mesh.a.socket))
    assert done.returncode == 1
    assert done.stderr.startswith("ginneld: another ginneld answers on ")
    assert done.stderr.count("\n") == 1
    assert not (mesh.directory / "other").exists()
    assert mesh.a.status()["BackendState"] == "Running"


def test_logins_that_cannot_succeed_are_one_line_each_and_leave_nothing(mesh: Mesh) -> None:
    stranger = mesh.join("c", "192.0.2.13/24")
    stranger.start()
    try:
        invite = parse_invite(mesh.invite())
        for arguments, words in (
            (("--invite", "ginnel-invite1:AAAA"), "cannot be used"),
            (("--invite", encode_invite(replace(invite, auth_key="gkey-unknown"))), "refused this machine"),
            (("--login-server", "http://192.0.2.1:9", "--auth-key", "x"), "cannot log in at"),
            ((), "which server?"),
        ):
            done = stranger.ginnel("up", *arguments)
            assert done.returncode == 1, done
            assert done.stderr.count("\n") == 1, done
            assert words in done.stderr
            assert stranger.status()["BackendState"] == "NeedsLogin"
            assert stranger.rules() == []
    finally:
        stranger.stop()


def test_a_taken_port_is_replaced_and_told(mesh: Mesh) -> None:
    mesh.b.stop()
    with subprocess.Popen(mesh.b.command(HOLD), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        mesh.b.start()
        until(lambda: mesh.b.status()["BackendState"] == "Running", "bob runs")
        (told,) = re.findall(r"UDP port 41641 is taken; using (\d+) instead", str(mesh.b.status()["Health"]))
        assert re.search(
            rf":{told} .*\b(ginneld|python)", run("ip", "netns", "exec", mesh.b.name, "ss", "-Hlunp").stdout
        )
        until(lambda: mesh.a.ping("100.64.0.2"), "traffic flows")
        until(lambda: peer_of(mesh.a)["CurAddr"] == f"192.0.2.12:{told}", "alice sends to the port that was told")
        holder.communicate(timeout=GENEROUS)


def test_stopping_takes_everything_away(mesh: Mesh) -> None:
    mesh.a.stop()
    assert mesh.a.rules() == []
    assert "ginnel0" not in ip("-n", mesh.a.name, "link")
    assert not Path(mesh.a.socket).exists()
