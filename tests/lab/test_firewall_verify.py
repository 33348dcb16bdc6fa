"""`ginnel firewall verify` beside a running daemon, on the wire of two_hosts.py; alice's own kernel is the firewall."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.test_two_nodes import pytestmark
from tests.lab.two_hosts import Host, Mesh, joined_mesh, until

__all__ = ["pytestmark"]
PAGE = Path(__file__).parent.parent.parent / "docs/firewall.md"
COMMANDS = re.findall(r"^\$ ginnel (firewall verify.*)$", PAGE.read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with joined_mesh("alice", "bob") as standing:
        until(lambda: _homes(standing.a) == ["own"], "alice hears of bob's home")
        yield standing


@pytest.fixture(autouse=True)
def _open_network(mesh: Mesh) -> Iterator[None]:
    yield
    nft(mesh.a, "add table ip wall\ndelete table ip wall")


def _homes(host: Host) -> list[str]:
    return [peer["Relay"] for peer in (host.status().get("Peer") or {}).values()]


def nft(host: Host, script: str) -> None:
    command = ["ip", "netns", "exec", host.name, "nft", "-f", "-"]
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def block(host: Host, *rules: str) -> None:
    lines = "\n".join(rules)
    nft(host, f"table ip wall {{\nchain out {{\ntype filter hook output priority 0;\n{lines}\n}}\n}}\n")


def verified(host: Host) -> tuple[int, dict[str, Any]]:
    done = host.ginnel("firewall", "verify", "--json")
    assert done.stderr == ""
    return done.returncode, json.loads(done.stdout)


def test_a_healthy_member_passes_all_and_the_daemon_tries_the_tunnels_port(mesh: Mesh) -> None:
    status, report = verified(mesh.a)
    assert (status, report["passed"], report["lost"], report["notes"]) == (0, True, [], [])
    assert {need["id"]: need["passed"] for need in report["needs"]} == {
        "https": True, "tunnel": True, "stun": True, "portal": True
    }  # fmt: skip
    assert report["tunnel"] == "from UDP port 41641 by the daemon, seen as 192.0.2.11:41641"
    roles = {check["role"] for check in report["checks"] if check["result"] == "passed"}
    assert roles >= {"control", "relay"}
    steps = {check["evidence"]["step"] for check in report["checks"] if check["role"] == "control"}
    assert steps == {"login"}  # not just connected: through /key and Noise


def test_each_command_of_the_page_about_verify_runs(mesh: Mesh) -> None:
    assert len(COMMANDS) == 3
    for command in COMMANDS:
        done = mesh.a.ginnel(*command.split())
        assert done.returncode == 0, done.stdout + done.stderr


def test_a_blocked_relay_names_the_peer_who_suffers(mesh: Mesh) -> None:
    block(mesh.a, "tcp dport 443 drop")
    status, report = verified(mesh.a)
    assert status == 1
    (lost,) = report["lost"]
    assert (lost["peers"], lost["own_home"]) == (["bob"], True)
    assert "bob cannot be relayed to" in lost["text"]
    said = mesh.a.ginnel("firewall", "verify").stdout
    assert lost["text"] in said
    assert "control 192.0.2.1 at 192.0.2.1:443: silent-drop" in said


def test_a_blocked_tunnel_port_is_found_by_the_daemon(mesh: Mesh) -> None:
    block(mesh.a, "udp sport 41641 drop")
    status, report = verified(mesh.a)
    assert status == 1
    found = {need["id"]: need["passed"] for need in report["needs"]}
    assert (found["tunnel"], found["stun"], found["https"]) == (False, True, True)


def test_dropped_port_80_leaves_the_exit_status_at_0(mesh: Mesh) -> None:
    block(mesh.a, "tcp dport 80 drop")
    status, report = verified(mesh.a)
    assert status == 0
    assert report["notes"] == ["captive portal detection unavailable (tcp/80 filtered)"]


def test_without_a_daemon_one_line_says_what_to_do(mesh: Mesh) -> None:
    done = mesh.server.ginnel("firewall", "verify")
    assert done.returncode == 1
    assert done.stderr == (
        "ginneld is not running here: start it with `sudo ginneld`, or name a mesh with --server URL or "
        "--derp-map FILE\n"
    )


def test_a_server_is_verified_by_its_invite_where_no_daemon_runs(mesh: Mesh) -> None:
    mesh.b.stop()
    done = mesh.b.ginnel("firewall", "verify", "--json", "--server", mesh.invite())
    report = json.loads(done.stdout)
    assert (done.returncode, report["passed"]) == (0, True), done.stdout
    assert report["tunnel"] == "from UDP port 41641 by a socket of this command's own"
