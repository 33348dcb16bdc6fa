"""Who sends what, when."""

from itertools import islice, pairwise
from random import Random

import pytest

from ginnel.core.node.punch_nat import Nat
from ginnel.core.node.punch_shots import (
    FIRST_PORT,
    LAST_PORT,
    SOCKETS,
    Technique,
    guesses,
    opener,
    openers,
    pings,
    predicted,
    shuffled,
    technique,
)
from ginnel.wire.punch import NatKind
from ginnel.words import Endpoint

EASY = Nat(NatKind.EASY, Endpoint.parse("192.0.2.9:5000"))
ROW = Nat(NatKind.SEQUENTIAL, Endpoint.parse("192.0.2.9:5000"), 2)


@pytest.mark.parametrize(
    ("one", "other", "by"),
    [
        (NatKind.EASY, NatKind.EASY, Technique.FRESH),
        (NatKind.EASY, NatKind.SEQUENTIAL, Technique.PREDICT),
        (NatKind.SEQUENTIAL, NatKind.SEQUENTIAL, Technique.PREDICT),
        (NatKind.EASY, NatKind.RANDOM, Technique.BIRTHDAY),
        (NatKind.SEQUENTIAL, NatKind.RANDOM, None),
        (NatKind.RANDOM, NatKind.RANDOM, None),
        (NatKind.UNKNOWN, NatKind.EASY, None),
    ],
)
def test_both_sides_come_to_the_same_technique(one: NatKind, other: NatKind, by: Technique | None) -> None:
    assert technique(one, other) is technique(other, one) is by


def test_a_shuffle_has_every_port_once_in_an_order_that_entropy_decides() -> None:
    orders = [list(shuffled(FIRST_PORT, LAST_PORT, Random(seed).randbytes)) for seed in (1, 2)]
    for order in orders:
        assert sorted(order) == list(range(FIRST_PORT, LAST_PORT + 1))
    assert orders[0][:50] != orders[1][:50]


def test_a_shuffle_is_fair_at_each_place() -> None:
    firsts = [list(shuffled(1, 4, Random(seed).randbytes)) for seed in range(4000)]
    for place in range(4):
        for port in range(1, 5):
            assert 850 < sum(order[place] == port for order in firsts) < 1150


def test_predictions_stay_among_the_ports() -> None:
    assert predicted(EASY) == [5000]
    assert predicted(ROW)[:3] == [5002, 5004, 5006]
    assert predicted(Nat(NatKind.SEQUENTIAL, Endpoint.parse("192.0.2.9:65535"), 16)) == []
    assert opener(1, Nat(NatKind.SEQUENTIAL, Endpoint.parse("192.0.2.9:65535"), 16), 2) == []


def test_a_sequential_side_aims_at_one_port_and_an_easy_one_at_the_window() -> None:
    assert {shot.to.port for shot in pings(1, ROW, ROW)} == {5002}
    assert len({shot.to.port for shot in pings(1, ROW, EASY)}) > 4


def test_openers_go_out_from_every_socket_and_a_hop_deeper_each_time() -> None:
    shots = list(openers(range(SOCKETS), EASY, 2))
    assert [shot.ttl for shot in shots[::SOCKETS]] == [2, 3, 4]
    assert {shot.socket for shot in shots[:SOCKETS]} == set(range(SOCKETS))
    assert {shot.to for shot in shots} == {EASY.outside}
    assert all(a.at <= b.at for a, b in pairwise(shots))
    assert {shot.ttl for shot in openers([1], EASY, 0)} == {0}


def test_the_share_of_searches_that_meet_is_what_the_birthday_bound_says() -> None:
    """580 guesses against 256 mappings among 64,512 ports: nine of ten."""
    met = 0
    for seed in range(400):
        random = Random(seed)
        mapped = set(random.sample(range(FIRST_PORT, LAST_PORT + 1), SOCKETS))
        met += any(shot.to.port in mapped for shot in islice(guesses(1, EASY, random.randbytes), 580))
    assert 0.86 <= met / 400 <= 0.94
