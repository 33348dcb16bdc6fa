"""Random worlds: every invariant holds in each, and a seed replays."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ginnel.testing.play import play

SEEDS = 300


@pytest.mark.parametrize("seed", range(SEEDS))
def test_what_must_hold_does_in_any_world(seed: int) -> None:
    play(seed)


@pytest.mark.parametrize("seed", [3, 11, 42])
def test_one_seed_is_the_same_run_in_any_process(seed: int) -> None:
    """Also where hashes of bytes differ."""
    said = [
        subprocess.run(
            [sys.executable, "-m", "ginnel.testing", "--seed", str(seed), "--trace"],
            env={"PYTHONHASHSEED": hashes, "PYTHONPATH": ":".join(sys.path)},
            capture_output=True,
            check=True,
        ).stdout
        for hashes in ("1", "2")
    ]
    assert said[0] == said[1]
    assert b"holds" in said[0]
