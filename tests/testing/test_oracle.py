"""The oracle says what was measured with official programs on real NATs (rows and columns as letters below)."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from random import Random

import pytest

from ginnel.testing.firewall import Firewall
from ginnel.testing.nat import (
    EASY,
    EASY_ADDRESS,
    EASY_BARE,
    FULL_CONE,
    HARD,
    HARD_SEQUENTIAL,
    UDP_BLOCKED,
    Nat,
    NatKind,
    with_hairpin,
)
from ginnel.testing.network import Host
from ginnel.testing.oracle import Verdict, verdict
from ginnel.words import Endpoint, IpAddress

LAN = IPv4Address("192.168.1.2")
PORT = 41641
D, R, E = Verdict.DIRECT, Verdict.RELAYED, Verdict.EITHER


def nat(kind: NatKind, upstream: Nat | None = None, forwards: dict[int, Endpoint] | None = None) -> Nat:
    return Nat(kind, IPv4Address("198.18.7.1"), Random(1), forwards, upstream)


def host(
    kind: NatKind | None = None, *, behind: Nat | None = None, firewall: bool = False, lan: IpAddress = LAN
) -> Host:
    box = behind or (nat(kind) if kind is not None else None)
    made = Host(
        "h", lan if box is not None else IPv4Address("198.51.100.1"), nat=box, firewall=Firewall(stateful=firewall)
    )
    made.sockets[PORT] = lambda _source, _packet: None
    return made


SIDES = {
    "open": host,
    "stateful firewall": lambda: host(firewall=True),
    "full cone": lambda: host(FULL_CONE),
    "address-restricted": lambda: host(EASY_ADDRESS),
    "easy": lambda: host(EASY),
    "hard": lambda: host(HARD),
    "blocked": lambda: host(UDP_BLOCKED),
}
TABLE = """
D D D D D D R
D D D D D E R
D D D D D D R
D D D D D D R
D D D D D E R
D E D D E E R
R R R R R R R
"""
LETTERS = {"D": D, "R": R, "E": E}
CELLS = [
    (a, b, LETTERS[letter])
    for a, row in zip(SIDES, TABLE.strip().splitlines(), strict=True)
    for b, letter in zip(SIDES, row.split(), strict=True)
]


@pytest.mark.parametrize(("a", "b", "expected"), CELLS)
def test_the_oracle_agrees_with_the_measured_matrix(a: str, b: str, expected: Verdict) -> None:
    assert verdict(SIDES[a](), SIDES[b]()) is expected


def test_a_port_taken_by_an_early_probe_is_left_to_luck() -> None:
    assert verdict(host(EASY_BARE), host(EASY)) is E
    assert verdict(host(EASY_BARE), host(EASY_BARE)) is E
    assert verdict(host(EASY_BARE), host(FULL_CONE)) is D
    assert verdict(host(EASY_BARE), host()) is D


def test_an_opened_port_makes_hard_nats_direct() -> None:
    opened = nat(HARD, forwards={PORT: Endpoint(LAN, PORT)})
    assert verdict(host(behind=opened), host(HARD)) is D
    assert verdict(host(behind=opened), host(HARD_SEQUENTIAL)) is D
    assert verdict(host(behind=opened, firewall=True), host(HARD)) is not D


def test_a_chain_maps_as_its_worst_and_filters_as_its_strictest() -> None:
    def behind(inner: NatKind, carrier: NatKind) -> Host:
        return host(behind=nat(inner, nat(carrier)))

    assert verdict(behind(EASY, EASY), host(EASY)) is D
    assert verdict(behind(EASY, HARD), host(EASY)) is E
    assert verdict(behind(HARD, EASY), host(EASY)) is E
    assert verdict(behind(EASY, HARD), host(EASY_ADDRESS)) is D
    assert verdict(behind(EASY, FULL_CONE), host(HARD)) is E
    assert verdict(behind(FULL_CONE, FULL_CONE), host(HARD)) is D


def test_two_behind_one_carrier_need_its_hairpin() -> None:
    for kind, expected in ((EASY, R), (with_hairpin(EASY), D)):
        carrier = nat(kind)
        assert verdict(host(behind=nat(EASY, carrier)), host(behind=nat(EASY, carrier))) is expected


def test_neighbours_on_one_lan_need_nobody() -> None:
    router = nat(UDP_BLOCKED)
    assert verdict(host(behind=router), host(behind=router, lan=IPv4Address("192.168.1.3"))) is D


def test_ipv6_at_both_ends_is_direct_through_two_firewalls_and_at_one_end_it_is_not() -> None:
    a, b, only_v4 = host(HARD, firewall=True), host(HARD, firewall=True), host()
    a.v6, b.v6 = IPv6Address("2001:db8::1"), IPv6Address("2001:db8::2")
    assert verdict(a, b) is D
    a.v4 = None
    assert verdict(a, b) is D
    assert verdict(a, only_v4) is R
