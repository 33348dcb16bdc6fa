"""How far packets go in the simulated network."""

from __future__ import annotations

from ipaddress import IPv4Address
from random import Random

import pytest

from ginnel.testing.clock import VirtualClock
from ginnel.testing.nat import EASY_BARE, Nat
from ginnel.testing.network import Host, Network
from ginnel.words import Endpoint

A, B = IPv4Address("198.18.7.1"), IPv4Address("198.18.7.2")
PORT = 5000


class World:
    """A host behind one router, another one behind two, and four more routers between these."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.network = Network(self.clock, Random(1), latency=0.02)
        carrier = Nat(EASY_BARE, B, Random(2))
        inner = Nat(EASY_BARE, IPv4Address("100.100.9.1"), Random(3), upstream=carrier)
        self.a = self.network.add(Host("a", IPv4Address("10.0.0.1"), nat=Nat(EASY_BARE, A, Random(1))))
        self.b = self.network.add(Host("b", IPv4Address("10.0.0.1"), nat=inner))
        self.heard: list[tuple[str, bytes]] = []
        for host in (self.a, self.b):
            host.sockets[PORT] = lambda _source, packet, host=host: self.heard.append((host.name, packet))

    def send(self, host: Host, to: IPv4Address, packet: bytes, ttl: int = 0) -> None:
        self.network.send(host, PORT, Endpoint(to, PORT), packet, ttl)
        self.clock.run(1.0)


def test_a_packet_dies_where_its_hops_end() -> None:
    world = World()
    world.send(world.a, B, b"opens a", 2)
    world.send(world.b, A, b"opens b")
    for ttl in (2, 5, 7, 8, 9):
        world.send(world.a, B, b"%d" % ttl, ttl)
    assert world.heard[1:] == [("b", b"8"), ("b", b"9")]  # a's router, four, the carrier, b's router; then b itself


@pytest.mark.parametrize(("ttl", "opens"), [(1, False), (2, True), (5, True)])
def test_what_dies_behind_the_own_router_has_opened_it_and_reached_nothing_else(ttl: int, opens: bool) -> None:
    world = World()
    world.send(world.a, B, b"opener", ttl)
    world.send(world.b, A, b"ping")
    assert world.heard == ([("a", b"ping")] if opens else [])


def test_an_opener_that_reaches_the_other_router_spoils_its_mapping() -> None:
    world = World()
    world.send(world.a, B, b"opener", 6)
    world.send(world.b, A, b"ping")
    assert world.heard == []


def test_an_opener_must_pass_both_routers_of_its_own() -> None:
    for ttl, heard in ((2, []), (3, [("b", b"ping")])):
        world = World()
        world.send(world.b, A, b"opener", ttl)
        world.send(world.a, B, b"ping")
        assert world.heard == heard
