"""Commands that measure or show something, on the wire of two_hosts.py."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from ginnel.cli.status_web import HEADERS
from tests.lab.two_hosts import GENEROUS, MAIN, Host, Mesh, joined_mesh, run, until

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root and network namespaces")]

NO_DIRECT_WAY = (
    "add table ip gn; add chain ip gn out { type filter hook output priority 0; };"
    "add rule ip gn out ip daddr 192.0.2.11-192.0.2.12 meta l4proto udp drop"
)
NO_SERVER = (
    "add table ip gn; add chain ip gn out { type filter hook output priority 0; };"
    "add rule ip gn out ip daddr 192.0.2.1 tcp dport 443 reject with tcp reset"
)
LOOK = "import sys, urllib.request as u; a = u.urlopen(sys.argv[1]); print(a.headers); print(a.read().decode())"


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with joined_mesh("alice", "bob") as standing:
        yield standing


@contextmanager
def rules(text: str, *hosts: Host) -> Iterator[None]:
    for host in hosts:
        subprocess.run(["ip", "netns", "exec", host.name, "nft", text], check=True)
    try:
        yield
    finally:
        for host in hosts:
            subprocess.run(["ip", "netns", "exec", host.name, "nft", "delete table ip gn"], check=True)


@contextmanager
def running(host: Host, *words: str, until_it_says: str) -> Iterator[str]:
    """A command that goes on until it is ended; gives the line by which it says that it listens."""
    command = [*host.command(MAIN, *words, "--socket", host.socket)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = next((line for line in process.stderr if until_it_says in line), "")
            assert line
            yield line
        finally:
            process.terminate()
            process.wait(GENEROUS)


def test_a_relay_asked_by_stun_says_what_it_sees(mesh: Mesh) -> None:
    done = run(*mesh.a.command(MAIN, "stun", "query", "192.0.2.1"))
    assert done.returncode == 0
    assert re.fullmatch(r"192\.0\.2\.1:3478 sees this machine as 192\.0\.2\.11:\d+ \(\d+\.\d ms\)\n", done.stdout)


def test_netcheck_tries_the_coordination_server_too(mesh: Mesh) -> None:
    done = mesh.a.ginnel("netcheck", "--control")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^\t\* Control: https://192\.0\.2\.1 reached in \d+ms$", done.stdout, re.M), done.stdout
    found = json.loads(mesh.a.ginnel("netcheck", "--control", "--json").stdout)["Control"]
    assert (found["URL"], found["Reached"], found["Problem"]) == ("https://192.0.2.1", True, "")


def test_netcheck_says_how_the_coordination_server_is_blocked(mesh: Mesh) -> None:
    with rules(NO_SERVER, mesh.a):
        done = mesh.a.ginnel("netcheck", "--control", "--json")
    found = json.loads(done.stdout)["Control"]
    assert (done.returncode, found["Reached"]) == (1, False)
    assert "refused" in found["Problem"] or "reset" in found["Problem"]


def test_the_status_page_is_there_for_browsers(mesh: Mesh) -> None:
    words = ("status", "--web", "--listen", "127.0.0.1:0", "--no-browser")
    with running(mesh.a, *words, until_it_says="Serving") as line:
        url = line.split()[4]
        page = run(*mesh.a.command(LOOK, url)).stdout
    assert "<td>100.64.0.2</td><td>bob</td>" in page
    assert all(f"{name}: {value}" in page for name, value in HEADERS)


def measured(mesh: Mesh, *words: str) -> dict:
    done = mesh.a.ginnel("speedtest", "bob", "--time", "1s", "--json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_speed_test_says_how_fast_a_peer_is_and_by_which_path(mesh: Mesh) -> None:
    assert mesh.a.ginnel("ping", "bob").returncode == 0
    with running(mesh.b, "speedtest", "--server", until_it_says="listening on fd7a"):
        direct = measured(mesh)
        assert direct["Path"] == "direct 192.0.2.12:41641"
        assert measured(mesh, "--reverse")["Direction"] == "upload"
        with rules(NO_DIRECT_WAY, mesh.a, mesh.b):
            until(lambda: measured(mesh)["Path"] == 'relay "own"', "the pair is relayed")
            relayed = mesh.a.ginnel("speedtest", "bob", "--time", "1s")
        outside = run(*mesh.a.command("import socket; socket.create_connection(('192.0.2.12', 20333), 2)"))
    assert direct["Total"]["BitsPerSecond"] > 10e6
    assert relayed.stdout.splitlines()[-1] == 'Path: relay "own"'
    assert "ConnectionRefusedError" in outside.stderr


def test_without_a_server_there_the_speed_test_says_what_to_run(mesh: Mesh) -> None:
    done = mesh.a.ginnel("speedtest", "bob")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "ginnel speedtest --server" in done.stderr
