from ginnel.core.relay.identity import LeafFacts
from ginnel.core.relay.renewal import FIRST_RETRY, LAST_RETRY, Renewal
from ginnel.words import WallTime

DAY = 86400.0
NOW = WallTime(1_800_000_000.0)
LEAF = LeafFacts("", False, frozenset(), made=WallTime(NOW + DAY), expires=WallTime(NOW + 90 * DAY))


def renewal(chance: float = 0.5, failures: int = 0, failed_at: WallTime = NOW) -> Renewal:
    return Renewal(chance, failures, failed_at)


def test_without_a_certificate_it_is_due_at_once() -> None:
    assert renewal().due(None) <= NOW


def test_a_certificate_is_renewed_after_two_thirds_of_its_life_and_not_all_at_one_time() -> None:
    assert renewal().due(LEAF) == NOW + 60 * DAY
    early, late = renewal(0.0).due(LEAF), renewal(1.0).due(LEAF)
    assert NOW + 55 * DAY < early < NOW + 60 * DAY < late < NOW + 65 * DAY


def test_a_certificate_of_an_hour_is_renewed_within_it() -> None:
    hour = LeafFacts("", False, frozenset(), made=WallTime(NOW + DAY), expires=WallTime(NOW + 3600))
    assert NOW < renewal().due(hour) < NOW + 3600


def test_failures_put_it_off_longer_and_longer_up_to_a_bound() -> None:
    one = renewal()
    pauses = []
    for _ in range(12):
        one.failed(NOW)
        pauses.append(one.due(None) - NOW)
    assert pauses == sorted(pauses)
    assert pauses[0] == FIRST_RETRY
    assert pauses[-1] == LAST_RETRY
    one.succeeded()
    assert one.due(LEAF) == NOW + 60 * DAY


def test_a_failure_long_ago_puts_nothing_off() -> None:
    assert renewal(failures=3, failed_at=WallTime(NOW - DAY)).due(None) <= NOW
    assert renewal(failures=1, failed_at=WallTime(NOW)).due(LEAF) == NOW + 60 * DAY
