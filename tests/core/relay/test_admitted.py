from ginnel.core.relay.admitted import MAX_REMEMBERED, Admitted
from ginnel.words import Instant, NodeKey

ALICE = NodeKey(bytes([1]) * 32)


def test_a_yes_holds_for_its_lifetime() -> None:
    admitted = Admitted(10.0)
    assert not admitted.lately(ALICE, Instant(0.0))
    admitted.decided(ALICE, True, Instant(0.0))
    assert admitted.lately(ALICE, Instant(9.9))
    assert not admitted.lately(ALICE, Instant(10.0))


def test_a_no_ends_an_earlier_yes() -> None:
    admitted = Admitted(10.0)
    admitted.decided(ALICE, True, Instant(0.0))
    admitted.decided(ALICE, False, Instant(1.0))
    assert not admitted.lately(ALICE, Instant(1.0))


def test_beyond_the_bound_the_oldest_is_forgotten() -> None:
    admitted = Admitted(10.0)
    keys = [NodeKey(number.to_bytes(32, "big")) for number in range(MAX_REMEMBERED + 1)]
    for key in keys:
        admitted.decided(key, True, Instant(0.0))
    assert not admitted.lately(keys[0], Instant(0.0))
    assert admitted.lately(keys[1], Instant(0.0))
    assert admitted.lately(keys[-1], Instant(0.0))
