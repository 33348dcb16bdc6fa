from ginnel.core.node.portmap.constants import RETRIES
from ginnel.core.node.portmap.retry import Retry
from ginnel.words import Instant


def test_a_question_is_repeated_four_times_in_under_three_seconds() -> None:
    retry, now, sent = Retry(), Instant(0.0), 1
    retry.begin(now)
    while retry.next is not None:
        now = retry.next
        sent += retry.again(now)
    assert sent == len(RETRIES)
    assert now < 3.0
    assert not retry.open


def test_an_answer_ends_it() -> None:
    retry = Retry()
    retry.begin(Instant(0.0))
    assert not retry.due(Instant(0.2))
    assert retry.due(Instant(0.25))
    retry.done()
    assert not retry.due(Instant(9.0))
