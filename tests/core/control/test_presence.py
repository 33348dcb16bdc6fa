"""Who is here, and for how long after."""

from ginnel.core.control import limits
from ginnel.core.control.presence import Presence
from ginnel.words import Instant, NodeId

A = NodeId(1)


def test_a_node_is_online_until_its_grace_is_over_and_told_once() -> None:
    presence = Presence()
    assert presence.opened(A, 1)
    presence.closed(A, 1, Instant(100.0))
    assert presence.went_offline(Instant(100.0 + limits.OFFLINE_GRACE - 0.1)) == []
    assert presence.online == {A}
    assert presence.went_offline(Instant(100.0 + limits.OFFLINE_GRACE)) == [A]
    assert presence.went_offline(Instant(100.0 + limits.OFFLINE_GRACE)) == []


def test_a_node_that_is_awaited_is_gone_since_it_was_first_awaited() -> None:
    presence = Presence()
    presence.awaited(A, Instant(0.0))
    presence.awaited(A, Instant(50.0))
    assert presence.gone_for(60.0, Instant(59.0)) == []
    assert presence.gone_for(60.0, Instant(60.0)) == [A]


def test_a_node_with_a_stream_is_not_gone() -> None:
    presence = Presence()
    presence.opened(A, 1)
    presence.awaited(A, Instant(0.0))
    assert presence.gone_for(0.0, Instant(1.0)) == []


def test_a_forgotten_node_is_nowhere() -> None:
    presence = Presence()
    presence.opened(A, 1)
    presence.forget(A)
    presence.closed(A, 1, Instant(0.0))
    assert (presence.online, presence.gone_for(0.0, Instant(1.0))) == (set(), [])
