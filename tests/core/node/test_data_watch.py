from __future__ import annotations

from ginnel.core.node.constants import COPY_DUE, DATA_OWED_WITHIN, TRIAL, TRIAL_AGAIN
from ginnel.core.node.data_watch import DataWatch
from ginnel.words import Instant

T0 = Instant(1000.0)


def at(seconds: float) -> Instant:
    return Instant(T0 + seconds)


def silent(*, accused: bool = False) -> DataWatch:
    """A flow both ways until T0; from then on we alone are told of."""
    watch = DataWatch()
    watch.used(at(-10), accused=accused)
    watch.sent(at(-0.5))
    if accused:
        watch.heard_elsewhere(T0)
    else:
        watch.heard_here(T0)
    for half in range(4):
        watch.sent(at(half / 2))
    return watch


def on_trial() -> DataWatch:
    watch = silent()
    watch.asked(at(1.5))
    assert watch.answered(at(1.54))
    return watch


def test_silence_is_suspicious_once_a_steady_flow_has_waited_for_more_than_a_second() -> None:
    watch = silent()
    assert not watch.suspicious(at(1.05))
    assert watch.suspicious(at(1.5))


def test_a_packet_each_two_seconds_that_is_answered_is_no_silence() -> None:
    watch = DataWatch()
    watch.used(T0, accused=False)
    for second in range(0, 20, 2):
        watch.sent(at(second))
        assert not watch.suspicious(at(second))
        watch.heard_here(at(second + 0.04))


def test_where_nothing_is_sent_or_nothing_was_ever_heard_silence_is_no_news() -> None:
    watch = silent()
    assert not watch.suspicious(at(3.0))
    other = DataWatch()
    other.used(T0, accused=False)
    for half in range(10):
        other.sent(at(half / 2))
    assert not other.suspicious(at(4.5))


def test_questions_that_are_answered_are_asked_ever_more_seldom() -> None:
    watch = silent()
    asked = []
    for step in range(3, 10):
        now = at(step / 2)
        watch.sent(now)
        if watch.suspicious(now):
            watch.asked(now)
            asked.append(now - T0)
    assert asked == [1.5, 2.5, 4.5]


def test_data_by_the_way_ends_the_trial() -> None:
    watch = on_trial()
    watch.heard_here(at(2))
    assert watch.trial is None
    assert not watch.heard_by_relay(at(4))


def test_data_that_goes_on_coming_by_the_relay_alone_is_the_proof() -> None:
    watch = on_trial()
    assert not watch.heard_by_relay(at(1.6))
    assert not watch.heard_by_relay(at(2.1))
    assert watch.heard_by_relay(at(2.6))


def test_data_by_the_relay_proves_nothing_while_the_relay_is_not_tried() -> None:
    watch = silent()
    assert not any(watch.heard_by_relay(at(n / 2)) for n in range(10))


def test_a_trial_without_data_proves_nothing_and_the_next_one_waits() -> None:
    watch = on_trial()
    watch.sent(at(1.54 + TRIAL))
    assert not watch.trial_over(at(1.54 + TRIAL))
    assert watch.trial is None
    watch.asked(at(5))
    assert not watch.answered(at(5.04))
    later = at(1.54 + TRIAL + TRIAL_AGAIN)
    watch.asked(later)
    assert watch.answered(later)


def test_a_trial_whose_proof_is_under_way_goes_on() -> None:
    watch = on_trial()
    watch.heard_by_relay(at(1.5 + TRIAL))
    assert not watch.trial_over(at(1.54 + TRIAL))
    assert watch.trial is not None


def test_a_flow_that_pauses_by_its_nature_is_not_tried_at_each_pause() -> None:
    watch = DataWatch()
    watch.used(T0, accused=False)
    trials = 0
    for half in range(240):
        now = at(half / 2)
        watch.sent(now)
        if watch.suspicious(now):
            watch.asked(now)
            trials += watch.answered(now)
        if half % 6 == 0:
            watch.heard_here(now)
    assert trials == 4


def test_who_owes_a_keepalive_and_sends_none_is_not_reached() -> None:
    watch = silent()
    for half in range(4, 30):
        now = at(half / 2)
        watch.sent(now)
        assert watch.overdue(now) is (half / 2 >= DATA_OWED_WITHIN)
    assert not watch.overdue(at(40))


def test_a_way_accused_before_is_tried_at_once_and_must_show_data() -> None:
    watch = DataWatch()
    watch.used(T0, accused=True)
    assert watch.trial is not None
    for half in range(7):
        watch.sent(at(half / 2))
    assert watch.trial_over(at(TRIAL))
    other = DataWatch()
    other.used(T0, accused=True)
    other.heard_here(at(1))
    assert not other.accused


def test_a_pause_ends_the_wait_for_an_answer_that_came_too_soon_after_another_to_be_told() -> None:
    watch = DataWatch()
    watch.used(Instant(100.0), accused=False)
    watch.sent(Instant(100.0))
    watch.heard_here(Instant(100.04))
    watch.sent(Instant(100.5))
    assert watch.sent(Instant(120.0)) == 120.0
    assert not watch.overdue(Instant(120.0))


def test_data_by_the_relay_is_no_proof_before_the_copies_of_it_may_have_come() -> None:
    """A packet each second: of two copies the second one is still under way, if the relay is the faster."""
    watch = on_trial()
    assert not watch.heard_by_relay(at(2.0))
    assert not watch.heard_by_relay(at(3.0))
    watch.heard_here(at(3.08))
    assert watch.trial is None


def test_a_trial_ends_with_the_proof_where_packets_are_rare_and_none_is_copied() -> None:
    watch = on_trial()
    watch.heard_by_relay(at(2.0))
    watch.heard_by_relay(at(4.4))
    assert not watch.trial_over(at(1.54 + TRIAL))
    assert watch.trial is not None
    assert watch.trial.ends - at(1.54 + TRIAL) < COPY_DUE + 0.01
    assert watch.trial_over(watch.trial.ends)


def test_who_comes_by_another_udp_way_does_not_put_ours_on_trial() -> None:
    watch = silent()
    watch.heard_elsewhere(at(1.5))
    watch.asked(at(1.6))
    assert not watch.answered(at(1.64))


def test_data_by_another_udp_way_takes_the_relay_s_proof_away() -> None:
    watch = on_trial()
    for half in (4, 5):
        watch.heard_by_relay(at(half / 2))
    watch.heard_elsewhere(at(2.9))
    assert not watch.heard_by_relay(at(3.0))


def questions(watch: DataWatch, until: float, latency: float = 0.04) -> list[float]:
    """When the peer is asked inside the tunnel, while packets go out ten times a second."""
    asked = []
    for tenth in range(20, round(until * 10)):
        now = at(tenth / 10)
        watch.sent(now)
        if watch.question_due(now, latency):
            watch.questioned(now)
            asked.append(tenth / 10)
    return asked


def test_who_owes_a_keepalive_is_asked_three_times_before_silence_is_the_proof() -> None:
    watch = silent()
    assert questions(watch, 12.1) == [11.2, 11.6, 12.0]
    assert watch.overdue(at(12.1))
    assert not watch.silent_when_asked(at(12.3), 0.04)
    assert watch.silent_when_asked(at(12.4), 0.04)
    assert questions(watch, 16.0) == []


def test_over_a_long_way_the_answers_have_time() -> None:
    watch = silent()
    assert questions(watch, 13.0, latency=0.7) == [11.2, 12.6]
    assert not watch.silent_when_asked(at(13.0), 0.7)


def test_an_answer_begins_the_wait_anew() -> None:
    watch = silent()
    questions(watch, 11.5)
    watch.heard_here(at(11.5))
    assert questions(watch, 22.6) == []


def test_what_was_silent_before_an_end_moved_owes_nothing() -> None:
    watch = silent()
    watch.sent(at(11.0))
    watch.ends_changed(at(11.1))
    assert questions(watch, 22.2) == []
