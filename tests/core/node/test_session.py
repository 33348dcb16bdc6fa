"""Bounds of what a disco session remembers; what it says is tested in test_mesh.py."""

from ginnel.core.node.constants import PINGS_OUTSTANDING
from ginnel.core.node.path_actions import Purpose
from ginnel.core.node.session import DiscoSession, OpenPings, SentPing
from ginnel.words import DiscoPrivate, Endpoint, Instant, NodeKey

BOB = NodeKey(bytes([2]) * 32)
AT = Endpoint.parse("192.0.2.2:9")


def test_the_oldest_open_ping_gives_way() -> None:
    pings = OpenPings()
    for number in range(PINGS_OUTSTANDING + 1):
        pings.add(number.to_bytes(12), SentPing(BOB, AT, Instant(1.0), Purpose.DISCOVERY, 0))
    assert pings.get((0).to_bytes(12)) is None
    assert pings.get((1).to_bytes(12)) is not None
    assert pings.get(PINGS_OUTSTANDING.to_bytes(12)) is not None


def test_a_dead_disco_key_takes_its_box_along() -> None:
    """A server that rotates keys for ever must not fill the memory."""
    session = DiscoSession(DiscoPrivate(b"\1" * 32), bytes)
    for number in range(2, 50):
        key = DiscoPrivate(bytes([number]) * 32).public()
        session.bind(key, BOB)
        session.open(b"TS\xf0\x9f\x92\xac" + key.raw + bytes(60))
        session.unbind(key, BOB)
    assert session._boxes == {}
