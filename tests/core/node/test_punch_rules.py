"""When no search is made though one would find a way."""

from __future__ import annotations

from ginnel.core.node.constants import SHUNNED_FIRST
from ginnel.core.node.punch_rules import ORDINARY_FIRST
from ginnel.core.node.shunned import Fault
from ginnel.wire.punch import Step
from ginnel.words import Endpoint
from tests.core.node.punch_world import T0, World


def test_boxes_that_carry_no_data_are_not_searched_through_while_the_ordinary_way_is_shunned() -> None:
    world = World("bare", "bare")
    failed = Endpoint.parse(f"{world.bob.box.address}:41641")
    world.alice.peer.path.shunned.add(failed, Fault.DATA, T0)
    assert world.run(SHUNNED_FIRST, world.both_direct) is None
    assert not any(side.fired for side in world.sides)
    assert {message.step for message in world.alice.told} == {Step.REFUSED}
    assert world.run(300.0, world.both_direct) is not None
    assert world.now >= T0 + SHUNNED_FIRST + ORDINARY_FIRST


def test_a_way_elsewhere_that_carries_no_data_speaks_against_no_search() -> None:
    world = World("bare", "bare")
    world.alice.peer.path.shunned.add(Endpoint.parse("10.0.0.7:41641"), Fault.DATA, T0)
    assert world.run(10.0, world.both_direct) is not None
