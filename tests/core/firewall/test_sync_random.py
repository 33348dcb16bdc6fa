"""Runs drawn from seeds: whatever fails, and whenever the process is killed, the set is neither empty nor wrong.

`make sim` raises the number of seeds to a thousand and more, by SYNC_SEEDS.
"""

import os

import pytest

from tests.core.firewall.sync_world import World

SEEDS = int(os.environ.get("SYNC_SEEDS", "200"))
AT_ONCE = 10


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_the_set_is_never_empty_or_wrong(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        World(seed).play()


def test_the_runs_are_stormy() -> None:
    """Else the test above would prove nothing."""
    worlds = [World(seed) for seed in range(10)]
    for world in worlds:
        world.play()
    assert sum(world.kills for world in worlds) > 50
    assert sum(world.orders for world in worlds) > 300
