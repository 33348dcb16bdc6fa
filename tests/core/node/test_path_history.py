from __future__ import annotations

from ginnel.core.node.path_history import NOTES_KEPT, WAYS_KEPT, PathHistory, What
from ginnel.words import Endpoint, Instant, RegionId

HERE, THERE = Endpoint.parse("192.0.2.1:41641"), Endpoint.parse("192.0.2.2:41641")
HOME = RegionId(1)


def told(history: PathHistory) -> list[tuple[What, Endpoint | None, int]]:
    return [(note.what, note.endpoint, note.times) for note in history.notes]


def test_repetitions_are_counted_with_their_first_and_last_time():
    history = PathHistory()
    for second in range(3):
        history.asked(HERE, Instant(10.0 + second), told=True)
        history.asked(THERE, Instant(10.0 + second), told=True)
    assert told(history) == [(What.ASKED, HERE, 3), (What.ASKED, THERE, 3)]
    assert (history.notes[0].first, history.notes[0].last) == (10.0, 12.0)


def test_what_happens_after_a_milestone_is_told_anew():
    history = PathHistory()
    history.asked(HERE, Instant(1.0), told=True)
    history.steered(HERE, HOME, Instant(2.0))
    history.asked(HERE, Instant(3.0), told=True)
    assert [what for what, _, _ in told(history)] == [What.ASKED, What.DIRECT, What.ASKED]


def test_heartbeats_are_tallied_and_not_told():
    history = PathHistory()
    history.asked(HERE, Instant(1.0), told=False)
    history.answered(HERE, 0.02, Instant(1.1), told=False)
    assert not history.notes
    assert [(e, t.asked, t.answered, t.latency) for e, t in history.ways()] == [(HERE, 1, 1, 0.02)]


def test_a_way_is_told_when_it_is_taken_and_when_it_is_left_and_not_between():
    history = PathHistory()
    for second, (endpoint, region) in enumerate([(None, HOME), (HERE, HOME), (HERE, RegionId(0)), (None, HOME)]):
        history.steered(endpoint, region, Instant(second))
    assert [what for what, _, _ in told(history)] == [What.DIRECT, What.RELAYED]


def test_the_peers_pings_by_the_way_in_use_are_no_news():
    history = PathHistory()
    history.steered(HERE, HOME, Instant(1.0))
    history.heard(HERE, Instant(2.0))
    history.heard(THERE, Instant(2.0))
    assert told(history)[1:] == [(What.HEARD, THERE, 1)]


def test_nobody_fills_the_memory_with_endpoints_or_notes():
    history = PathHistory()
    for port in range(1, 1000):
        history.heard(Endpoint(HERE.ip, port), Instant(port))
    assert len(history.notes) == NOTES_KEPT
    assert len(list(history.ways())) == WAYS_KEPT
    assert history.notes[-1].endpoint == Endpoint(HERE.ip, 999)
