from __future__ import annotations

from ginnel.core.node.steered import SteeredPeers
from ginnel.words import Endpoint, NodeKey

ALICE, BOB = NodeKey(bytes([1]) * 32), NodeKey(bytes([2]) * 32)
HERE, THERE = Endpoint.parse("192.0.2.1:7"), Endpoint.parse("192.0.2.2:7")


def test_a_peer_is_where_it_was_steered_last() -> None:
    steered = SteeredPeers()
    steered.note(BOB, HERE)
    steered.note(BOB, THERE)
    assert (steered.at(HERE), steered.at(THERE)) == (None, BOB)
    steered.note(BOB, None)
    assert steered.at(THERE) is None


def test_who_took_an_endpoint_over_keeps_it_when_the_other_leaves() -> None:
    steered = SteeredPeers()
    steered.note(BOB, HERE)
    steered.note(ALICE, HERE)
    steered.note(BOB, THERE)
    assert steered.at(HERE) == ALICE
