"""Runs drawn from seeds: whatever fails, and whenever the process is killed, the set is neither empty nor wrong.

`make sim` raises the number of seeds to a thousand and more, by SYNC_SEEDS.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.firewall.sync_world import World

SEEDS = int(os.environ.get("SYNC_SEEDS", "200"))
AT_ONCE = 10
ROOT = Path(__file__).parent.parent.parent.parent


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


def test_a_seed_plays_the_same_run_again_in_another_process() -> None:
    code = "from tests.core.firewall.sync_world import World\nw = World(5)\nw.play()\nprint(w.count, w.orders, w.kills)"
    seen = {
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env={"PYTHONPATH": f"{ROOT}/src:{ROOT}", "PYTHONHASHSEED": seed},
            capture_output=True, text=True, check=True,
        ).stdout
        for seed in ("1", "2", "3")
    }  # fmt: skip
    assert len(seen) == 1
