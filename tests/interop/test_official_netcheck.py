"""Tailscale's own `netcheck` beside ours, in the same network, against the same relays.

It runs without its daemon: a socket that gives it the DERP map stands for that.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from ginnel.lab import LabError
from ginnel.lab.daemon import official
from tests.lab.router import EASY, HARD, NO_UDP6, Network, standing_network, to_portal

LOGIN_PAGE = "HTTP/1.1 302 Found\r\nLocation: http://login.example/\r\nContent-Length: 0\r\n\r\n"


def absent() -> str:
    if os.geteuid() != 0:
        return "needs root: network namespaces are made here"
    try:
        official("tailscale")
    except LabError as error:
        return str(error)
    return ""


pytestmark = [
    pytest.mark.root,
    pytest.mark.official_daemon,
    pytest.mark.skipif(bool(absent()), reason=absent()),
]


class MapSocket:
    """Answers whatever is asked with the DERP map."""

    def __init__(self, path: Path, body: bytes) -> None:
        self.path, self.body = path, body
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(8)
        self.thread = threading.Thread(target=self.serve)
        self.thread.start()

    def serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection:
                    connection.recv(4096)
                    head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(self.body)}\r\n\r\n"
                    connection.sendall(head.encode() + self.body)

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join()


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with standing_network() as standing:
        standing.rules(nat=EASY)
        asked = MapSocket(standing.directory / "map.sock", standing.map.read_bytes())
        try:
            yield standing
        finally:
            asked.close()


TRIES = 4


def theirs(network: Network, **truth: Any) -> dict[str, Any]:
    """Its report. On a busy machine it gives up before its last answers come, and is asked again; ours never is."""
    command = (official("tailscale"), "--socket", str(network.directory / "map.sock"), "netcheck", "--format=json")
    found: dict[str, Any] = {}
    for _ in range(TRIES):
        done = network.run("node", *map(str, command))
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        if found["RegionLatency"].keys() == {"900", "901"} and all(found[key] == truth[key] for key in truth):
            break
    return found


SAME = ("UDP", "IPv4", "IPv6CanSend", "IPv4CanSend", "OSHasIPv6", "ICMPv4", "MappingVariesByDestIP")


@pytest.mark.parametrize("nat", [EASY, HARD], ids=["easy", "hard"])
def test_both_find_the_same_of_a_nat(network: Network, nat: str) -> None:
    network.rules(nat=nat)
    their, our = theirs(network, MappingVariesByDestIP=nat == HARD, IPv6=True), network.report()
    assert list(our) == list(their)
    assert {key: our[key] for key in (*SAME, "IPv6")} == {key: their[key] for key in (*SAME, "IPv6")}
    for key in ("RegionLatency", "RegionV4Latency", "RegionV6Latency"):
        assert our[key].keys() == their[key].keys()
    for key in our:
        if our[key] is not None and their[key] is not None:
            assert type(our[key]) is type(their[key]), key


def test_both_find_the_same_where_udp_is_blocked_and_a_portal_stands(network: Network) -> None:
    network.rules(nat=EASY, drop=("meta l4proto udp drop",), redirect=to_portal())
    network.run("router", "nft", "-f", "-", stdin=NO_UDP6)
    try:
        with network.false_page(LOGIN_PAGE):
            their, our = theirs(network, CaptivePortal=True), network.report()
    finally:
        network.run("router", "nft", "delete", "table", "ip6", "lab")
    assert {key: our[key] for key in (*SAME, "CaptivePortal")} == {key: their[key] for key in (*SAME, "CaptivePortal")}
    assert our["CaptivePortal"] is True
    assert our["RegionLatency"].keys() == their["RegionLatency"].keys() == {"900", "901"}
