"""The simulated NATs do what their names say, in RFC 4787's terms, and as Linux was seen to do it."""

from __future__ import annotations

from ipaddress import IPv4Address
from random import Random

import pytest

from ginnel.testing.nat import (
    EASY,
    EASY_ADDRESS,
    EASY_BARE,
    EASY_OTHER_PORT,
    FULL_CONE,
    HARD,
    HARD_SEQUENTIAL,
    STUN_ONLY,
    UDP_BLOCKED,
    Nat,
    NatKind,
    with_idle,
)
from ginnel.words import Endpoint, Instant

INNER = Endpoint(IPv4Address("192.168.1.2"), 41641)
OUTER = IPv4Address("198.18.7.1")
REMOTE = Endpoint(IPv4Address("203.0.113.1"), 5000)
SAME_IP = Endpoint(IPv4Address("203.0.113.1"), 5001)
STRANGER = Endpoint(IPv4Address("203.0.113.9"), 5000)


def box(kind: NatKind, forwards: dict[int, Endpoint] | None = None) -> Nat:
    return Nat(kind, OUTER, Random(1), forwards)


def out(nat: Nat, remote: Endpoint = REMOTE, at: float = 0.0, inner: Endpoint = INNER) -> int:
    passed = nat.outward(inner, remote, Instant(at))
    assert passed is not None
    assert passed[1] == remote
    return passed[0].port


def comes_in(nat: Nat, port: int, remote: Endpoint, at: float = 0.0) -> bool:
    return nat.inward(port, remote, Instant(at)) == (INNER, remote)


@pytest.mark.parametrize("kind", [EASY, EASY_ADDRESS, FULL_CONE])
def test_an_easy_nat_keeps_the_port_for_all_destinations(kind: NatKind) -> None:
    nat = box(kind)
    assert out(nat) == out(nat, STRANGER) == INNER.port


def test_an_easy_nat_may_have_another_port_that_is_the_same_for_all() -> None:
    nat = box(EASY_OTHER_PORT)
    assert out(nat) == out(nat, STRANGER) != INNER.port


def test_a_second_host_with_the_same_port_gets_another_one_for_all_destinations() -> None:
    nat, second = box(EASY), Endpoint(IPv4Address("192.168.1.3"), INNER.port)
    first = out(nat)
    assert out(nat, inner=second) == out(nat, STRANGER, inner=second) != first


def test_hard_nats_have_a_port_for_each_destination() -> None:
    nat = box(HARD)
    assert len({out(nat), out(nat, SAME_IP), out(nat, STRANGER)}) == 3
    nat = box(HARD_SEQUENTIAL)
    first = out(nat)
    assert [out(nat, SAME_IP), out(nat, STRANGER), out(nat)] == [first + 1, first + 2, first]


@pytest.mark.parametrize(
    ("kind", "same_ip", "stranger"),
    [(EASY, False, False), (EASY_BARE, False, False), (EASY_ADDRESS, True, False), (FULL_CONE, True, True)],
)
def test_filters_let_in_whom_they_should(kind: NatKind, same_ip: bool, stranger: bool) -> None:
    nat = box(kind)
    port = out(nat)
    assert comes_in(nat, port, REMOTE)
    assert comes_in(nat, port, SAME_IP) is same_ip
    assert comes_in(nat, port, STRANGER) is stranger


def test_an_early_packet_takes_the_port_of_a_bare_masquerade_for_thirty_seconds() -> None:
    nat = box(EASY_BARE)
    assert not comes_in(nat, INNER.port, REMOTE)
    assert out(nat, STRANGER) == INNER.port
    assert out(nat, REMOTE, 29.0) != INNER.port
    nat = box(EASY_BARE)
    assert not comes_in(nat, INNER.port, REMOTE)
    assert out(nat, REMOTE, 30.0) == INNER.port
    nat = box(EASY)
    assert not comes_in(nat, INNER.port, REMOTE)
    assert out(nat, REMOTE) == INNER.port


def test_a_mapping_lives_thirty_seconds_unanswered_and_longer_as_a_stream() -> None:
    nat = box(EASY)
    port = out(nat)
    assert not comes_in(nat, port, REMOTE, 30.0)
    nat = box(with_idle(EASY, 120.0))
    out(nat)
    assert comes_in(nat, port, REMOTE, 1.0)
    out(nat, at=3.0)
    assert comes_in(nat, port, REMOTE, 122.0)
    assert not comes_in(nat, port, REMOTE, 243.0)


def test_a_reboot_forgets_mappings_and_keeps_what_was_set_up() -> None:
    nat = box(EASY, {9999: INNER})
    port = out(nat)
    nat.reboot()
    assert not comes_in(nat, port, REMOTE)
    assert comes_in(nat, 9999, STRANGER)


def test_what_came_in_by_an_opened_port_is_answered_by_it() -> None:
    nat = box(HARD, {9999: INNER})
    assert comes_in(nat, 9999, STRANGER)
    assert out(nat, STRANGER) == 9999
    assert out(nat, REMOTE) != 9999


def test_who_is_sent_to_by_another_port_seems_another_one_when_it_uses_the_opened_one() -> None:
    nat = box(HARD, {9999: INNER})
    port = out(nat)
    passed = nat.inward(9999, REMOTE, Instant(0.0))
    assert passed is not None
    seen = passed[1]
    assert seen.ip == REMOTE.ip
    assert seen.port != REMOTE.port
    assert nat.outward(INNER, seen, Instant(0.0)) == (Endpoint(OUTER, 9999), REMOTE)
    assert out(nat) == port


def test_blocked_means_blocked_and_stun_only_means_that() -> None:
    stun = Endpoint(REMOTE.ip, 3478)
    assert box(UDP_BLOCKED).outward(INNER, stun, Instant(0.0)) is None
    assert box(STUN_ONLY).outward(INNER, REMOTE, Instant(0.0)) is None
    assert out(box(STUN_ONLY), stun) == INNER.port
