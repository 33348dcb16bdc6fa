"""Side sockets of the pump, on real devices: what goes out by them, what comes in, and a tunnel that uses one."""

from __future__ import annotations

import errno
import os
import resource
import socket
from collections.abc import Iterator

import pytest
from bench.netns import inside, two_hosts

from ginnel.native import Pump
from tests.shell.test_pump import DISCO, STUN_ANSWER, Node, carry, two_nodes, udp

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes network namespaces and TUN devices"),
]

IP_RECVTTL = 12
"""linux/in.h; Python has no name for it."""


@pytest.fixture(scope="module")
def names() -> Iterator[tuple[str, str]]:
    with two_hosts(f"gp-s{os.getpid()}") as made:
        yield made


@pytest.fixture
def nodes(names: tuple[str, str]) -> Iterator[tuple[Node, Node]]:
    with two_nodes(*names) as made:
        yield made


def open_sides(node: Node, count: int) -> list[tuple[int, int]]:
    with inside(node.space):
        opened = node.pump.open_sides(count)
    assert len(opened) == count
    return opened


def test_a_stream_passes_by_side_sockets_of_both_ends(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    (first, first_port), (second, second_port) = open_sides(a, 1)[0], open_sides(b, 1)[0]
    a.pump.steer(b.key, ("192.0.2.2", second_port), 0, socket=first)
    b.pump.steer(a.key, ("192.0.2.1", first_port), 0, socket=second)
    data = os.urandom(4_000_000)
    assert carry(a, b, b.ip, data) == data
    assert a.wait_for_kind("received") == ("received", b.key, ("192.0.2.2", second_port, second))
    assert a.pump.counters()["udp.in"] > 0
    assert b.pump.counters()["thread.panic"] == 0


def test_one_end_may_use_its_own_socket_and_a_path_may_move_between_them(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    side, port = open_sides(a, 1)[0]
    a.pump.steer(b.key, ("192.0.2.2", b.port), 0, socket=side)
    b.pump.steer(a.key, ("192.0.2.1", port), 0)
    assert a.ping(b.ip)
    a.pump.steer(b.key, ("192.0.2.2", b.port), 0)
    b.pump.steer(a.key, ("192.0.2.1", a.port), 0)
    a.pump.close_sides([side])
    assert a.ping(b.ip)


def test_an_answer_to_a_handshake_goes_back_by_the_side_socket_that_it_came_to(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    _, port = open_sides(b, 1)[0]
    b.pump.steer(a.key, None, 0)
    a.pump.steer(b.key, ("192.0.2.2", port), 0)
    a.ping(b.ip, count=1, wait=0.1)
    assert a.wait_for_kind("received") == ("received", b.key, ("192.0.2.2", port))
    assert a.wait_for_kind("handshake") == ("handshake", b.key)


def test_disco_and_stun_come_up_with_the_socket_that_heard_them(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    opened = open_sides(a, 300)
    with udp(b.space, "192.0.2.2") as probe:
        for (side, port), datagram, kind in ((opened[0], DISCO, "disco"), (opened[299], STUN_ANSWER, "stun")):
            probe.sendto(datagram, ("192.0.2.1", port))
            heard = (kind, ("192.0.2.2", probe.getsockname()[1], side), datagram)
            assert a.wait_for_kind(kind) == heard


@pytest.mark.parametrize("ttl", [0, 3])
def test_a_packet_goes_out_by_the_side_socket_with_its_time_to_live(nodes: tuple[Node, Node], ttl: int) -> None:
    a, b = nodes
    side, port = open_sides(a, 1)[0]
    with udp(b.space, "192.0.2.2") as probe:
        probe.setsockopt(socket.IPPROTO_IP, IP_RECVTTL, 1)
        a.pump.send_side(side, ("192.0.2.2", probe.getsockname()[1]), DISCO, ttl=ttl)
        packet, control, _, source = probe.recvmsg(2000, 64)
    assert (packet, source) == (DISCO, ("192.0.2.1", port))
    assert int.from_bytes(control[0][2][:4], "little") == (ttl or 64)


def test_a_closed_side_socket_is_unsendable(nodes: tuple[Node, Node]) -> None:
    a, b = nodes
    side, _ = open_sides(a, 1)[0]
    a.pump.steer(b.key, ("192.0.2.2", b.port), 0, socket=side)
    a.pump.close_sides([side, 4711])
    a.pump.send_side(side, ("192.0.2.2", 9), DISCO)
    assert a.wait_for_kind("unsendable") == ("unsendable", ("192.0.2.2", 9, side), errno.EADDRNOTAVAIL)
    a.ping(b.ip, count=1, wait=0.1)
    assert a.wait_for_kind("unsendable") == ("unsendable", ("192.0.2.2", b.port, side), errno.EADDRNOTAVAIL)


def test_descriptors_are_left_for_everything_else() -> None:
    pump = Pump(os.urandom(32))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    try:
        assert len(pump.open_sides(256)) <= 200 - 128
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        pump.close()
    with pytest.raises(OSError, match="shut"):
        pump.open_sides(1)
