"""What a NAT is, judged by what STUN servers saw."""

from random import Random

import pytest

from ginnel.core.node.punch_nat import STEP_MAX, Sample, judge, step_of
from ginnel.wire.punch import NatKind
from ginnel.words import Endpoint

A, B = Endpoint.parse("203.0.113.1:3478"), Endpoint.parse("203.0.113.2:3478")


def samples(*rows: tuple[int, Endpoint, int]) -> list[Sample]:
    return [Sample(port, server, Endpoint.parse(f"192.0.2.9:{mapped}")) for port, server, mapped in rows]


@pytest.mark.parametrize(
    ("seen", "kind", "delta"),
    [
        (samples((7, A, 7), (8, A, 8), (9, A, 9)), NatKind.EASY, 0),
        (samples((7, A, 5000), (7, B, 5000), (8, A, 911), (8, B, 911)), NatKind.EASY, 0),
        (samples((7, A, 5000), (7, B, 5000), (8, A, 5001), (8, B, 5001)), NatKind.EASY, 0),
        (samples((7, A, 5000), (7, B, 5001), (8, A, 5002), (8, B, 5003)), NatKind.SEQUENTIAL, 1),
        (samples((7, A, 5000), (8, A, 5002), (9, A, 5006)), NatKind.SEQUENTIAL, 2),
        (samples((7, A, 5006), (8, A, 5004), (9, A, 5002)), NatKind.SEQUENTIAL, -2),
        (samples((7, A, 5000), (8, A, 91), (9, A, 5002)), NatKind.RANDOM, 0),
        (samples((7, A, 7), (7, B, 5001), (8, A, 8), (8, B, 911)), NatKind.RANDOM, 0),
    ],
)
def test_the_ports_tell_the_kind(seen: list[Sample], kind: NatKind, delta: int) -> None:
    nat = judge(seen)
    assert nat is not None
    assert (nat.kind, nat.delta, nat.outside) == (kind, delta, seen[-1].mapped)


def test_without_an_answer_or_with_several_addresses_nothing_is_said() -> None:
    assert judge([]) is None
    two = [Sample(7, A, Endpoint.parse("192.0.2.9:7")), Sample(8, A, Endpoint.parse("192.0.2.10:8"))]
    assert judge(two) is None


def test_two_ports_alone_tell_nothing_for_a_third_would_show_whether_they_are_a_row() -> None:
    """A NAT taken for a random one is not tried against a hard one for minutes; a lost answer is no reason for that."""
    assert judge(samples((7, A, 5000))) is None
    assert judge(samples((7, A, 5000), (8, A, 5001))) is None
    assert judge(samples((7, A, 5000), (7, B, 5001))) is None
    assert judge(samples((7, A, 7), (8, A, 8))) is not None


def test_random_ports_are_almost_never_taken_for_a_row() -> None:
    random = Random(1)
    rows = [step_of([random.randrange(1024, 65536) for _ in range(3)]) for _ in range(20000)]
    assert sum(step != 0 for step in rows) <= 2
    assert step_of([5, 6, 6 + STEP_MAX + 1]) == 0
