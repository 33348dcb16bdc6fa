"""A daemon behind a captive portal. The wire is that of two_hosts.py; alice's own kernel plays the portal: it
drops UDP and leads TCP port 80 to a page of its own, and each packet to port 80 is counted by where it was meant to go.
"""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.router import FALSE_PAGE
from tests.lab.test_two_nodes import pytestmark
from tests.lab.two_hosts import Host, Mesh, ip, joined_mesh, run, until

__all__ = ["pytestmark"]
LOGIN_PAGE = r"HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\n\r\n"
STRIPPED = r"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"
SYNS_PER_TRY = 3  # in 3 s, by the kernel's retransmissions
WORDS = "a captive portal holds up this network"


@pytest.fixture(scope="module")
def mesh() -> Iterator[Mesh]:
    with joined_mesh("alice") as standing:
        yield standing


@pytest.fixture(autouse=True)
def _open_network(mesh: Mesh) -> Iterator[None]:
    until(lambda: mesh.a.status()["BackendState"] == "Running", "alice is on the mesh")
    until(lambda: mesh.a.status().get("Health") == [], "alice is well")
    yield
    open_network(mesh.a)


def nft(host: Host, script: str) -> None:
    done = subprocess.run(
        ["ip", "netns", "exec", host.name, "nft", "-f", "-"], input=script, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def close_network(host: Host, *, port80: str, port443: str = "accept") -> None:
    """From now on the portal's will: UDP is dropped. What would go to other hosts' web ports is counted."""
    nft(
        host,
        f"""
        add table ip portal
        delete table ip portal
        table ip portal {{
            counter to80 {{}}
            counter elsewhere {{}}
            chain lead {{
                type nat hook output priority -100;
                ip daddr 192.0.2.1 tcp dport 80 counter name to80 {port80}
            }}
            chain block {{
                type filter hook output priority 0;
                oifname "eth0" meta l4proto udp drop
                oifname "eth0" tcp dport 80 drop
                oifname "eth0" tcp dport 443 {port443}
            }}
            chain watch {{
                type filter hook output priority -200;
                ip daddr != 192.0.2.1 tcp dport {{ 80, 443 }} counter name elsewhere
            }}
        }}
        """,
    )


def open_network(host: Host) -> None:
    nft(host, "add table ip portal\ndelete table ip portal")


def packets(host: Host, counter: str) -> int:
    listed = run("ip", "netns", "exec", host.name, "nft", "list", "counter", "ip", "portal", counter).stdout
    return int(listed.split("packets ")[1].split()[0])


@contextmanager
def page(mesh: Mesh, answer: str) -> Iterator[None]:
    command = mesh.server.command(FALSE_PAGE.replace("80)", "8080)"), answer, "192.0.2.1")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        program.stdout.readline()
        try:
            yield
        finally:
            program.kill()


def portal_lines(host: Host) -> list[str]:
    return [line for line in host.status().get("Health") or [] if "portal" in line]


def test_a_portal_that_breaks_connectivity_is_told_under_status_until_it_is_gone(mesh: Mesh) -> None:
    with page(mesh, LOGIN_PAGE):
        close_network(mesh.a, port80="dnat to 192.0.2.1:8080", port443="drop")
        mesh.stop_server()  # or the silence of standing connections would be noticed in a minute or two
        until(lambda: WORDS in mesh.a.ginnel("status").stdout, "the line is under status")
        assert packets(mesh.a, "elsewhere") == 0
        mesh.start_server()
    open_network(mesh.a)
    until(lambda: portal_lines(mesh.a) == [], "the line is gone by itself")


def test_a_network_with_a_portal_is_noticed_when_it_is_entered(mesh: Mesh) -> None:
    with page(mesh, LOGIN_PAGE):
        close_network(mesh.a, port80="dnat to 192.0.2.1:8080", port443="drop")
        for state in ("down", "up"):
            ip("-n", mesh.a.name, "link", "set", "eth0", state)
        ip("-n", mesh.a.name, "route", "replace", "default", "via", "192.0.2.1")
        until(lambda: WORDS in mesh.a.ginnel("status").stdout, "the line is under status")
        assert packets(mesh.a, "elsewhere") == 0
    open_network(mesh.a)
    until(lambda: portal_lines(mesh.a) == [], "the line is gone by itself")


def test_netcheck_by_the_daemon_finds_a_portal_that_lets_https_through(mesh: Mesh) -> None:
    with page(mesh, LOGIN_PAGE):
        close_network(mesh.a, port80="dnat to 192.0.2.1:8080")
        assert "\t* CaptivePortal: true\n" in mesh.a.ginnel("netcheck").stdout
        assert [WORDS in line for line in portal_lines(mesh.a)] == [True]
    open_network(mesh.a)
    assert "\t* UDP: true\n" in mesh.a.ginnel("netcheck").stdout
    assert portal_lines(mesh.a) == []


def test_a_proxy_that_strips_our_header_is_no_portal(mesh: Mesh) -> None:
    with page(mesh, STRIPPED):
        close_network(mesh.a, port80="dnat to 192.0.2.1:8080")
        assert "\t* CaptivePortal: false\n" in mesh.a.ginnel("netcheck").stdout
        assert portal_lines(mesh.a) == []


def test_a_filter_that_drops_port_80_is_no_portal_and_delays_nothing(mesh: Mesh) -> None:
    close_network(mesh.a, port80="accept")
    assert "\t* CaptivePortal: " not in (said := mesh.a.ginnel("netcheck").stdout)
    assert "\t* Captive portal detection: unavailable" in said
    assert portal_lines(mesh.a) == []
    mesh.a.stop()
    close_network(mesh.a, port80="accept")
    mesh.a.start()
    until(lambda: mesh.a.status()["BackendState"] == "Running", "alice is on the mesh without UDP and port 80")
    assert mesh.a.status()["Health"] == []
    assert "\t* UDP: false\n" in mesh.a.ginnel("netcheck").stdout
    assert packets(mesh.a, "to80") <= 2 * SYNS_PER_TRY
