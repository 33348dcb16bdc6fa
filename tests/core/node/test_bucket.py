from ginnel.core.node.bucket import TokenBucket
from ginnel.words import Instant

BURST, RATE = 24.0, 1.0


def test_a_bucket_gives_a_burst_and_then_its_rate() -> None:
    bucket = TokenBucket(BURST, RATE)
    taken = sum(bucket.take(Instant(1000 + tries / 100)) for tries in range(6000))
    assert BURST + 59 * RATE <= taken <= BURST + 60 * RATE


def test_several_are_taken_at_once_or_none() -> None:
    bucket, now = TokenBucket(BURST, RATE), Instant(1000.0)
    assert bucket.take(now, 20)
    assert not bucket.take(now, 5)
    assert bucket.left(now) == 4


def test_it_holds_no_more_than_the_burst_and_can_be_filled() -> None:
    bucket = TokenBucket(BURST, RATE)
    bucket.take(Instant(1000.0), 24)
    assert bucket.left(Instant(1004.0)) == 4
    assert bucket.left(Instant(2000.0)) == 24
    bucket.take(Instant(2000.0), 24)
    bucket.fill()
    assert bucket.left(Instant(2000.0)) == 24
