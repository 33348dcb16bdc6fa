"""Play seeds: `python -m ginnel.testing --seeds 0-9999`, or one again with all that happened in it: `--seed 7 --trace`.

Room: testing.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor

from ginnel.testing.plan import plan
from ginnel.testing.play import Player, play
from ginnel.testing.watch import Broken

AT_ONCE = 50  # seeds that a process is handed


def main() -> int:
    asked = _arguments()
    if asked.seed is not None:
        return _one(asked.seed, trace=asked.trace)
    first, last = asked.seeds
    return _many(first, last, asked.jobs)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m ginnel.testing", description="play random meshes, check them")
    parser.add_argument("--seed", type=int, help="play this one")
    parser.add_argument("--trace", action="store_true", help="print each packet and decision of --seed")
    parser.add_argument(
        "--seeds", type=_seeds, default="0-9999", metavar="FIRST-LAST", help="play all of these (0-9999)"
    )
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one for each core)")
    return parser.parse_args()


def _seeds(text: str) -> tuple[int, int]:
    """`0-9999`, or one number. Raises ArgumentTypeError."""
    first, dash, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not dash)) or int(last or first) < int(first):
        raise argparse.ArgumentTypeError(f"expected the first and the last seed, as in 0-9999, got {text!r}")
    return int(first), int(last or first)


def _one(seed: int, *, trace: bool) -> int:
    """The digest is the same each time."""
    player = Player(plan(seed), trace=trace)
    try:
        outcome = player.run()
        words = f"seed {seed} holds: {outcome.packets} packets, digest {outcome.digest:08x}"
    except Broken as broken:
        words = f"seed {seed} fails: {broken}; digest {player.mesh.watch.digest:08x}"
        outcome = None
    _say("\n".join([*(player.mesh.watch.trace or []), words]))
    return 0 if outcome is not None else 1


def _many(first: int, last: int, jobs: int) -> int:
    failures = 0
    with ProcessPoolExecutor(jobs) as pool:
        for done, breaches in enumerate(pool.map(_batch, _batches(first, last)), 1):
            failures += len(breaches)
            for breach in breaches:
                _say(breach)
            if done % 20 == 0:
                _say(f"{min(first + done * AT_ONCE - 1, last)} of {last}, {failures} failed")
    _say(f"{last - first + 1} seeds from {first} to {last}: {failures} failed")
    return 0 if not failures else 1


def _batches(first: int, last: int) -> Iterator[range]:
    for begin in range(first, last + 1, AT_ONCE):
        yield range(begin, min(begin + AT_ONCE, last + 1))


def _batch(seeds: range) -> list[str]:
    """What broke."""
    breaches: list[str] = []
    for seed in seeds:
        try:
            play(seed)
        except Broken as broken:
            breaches.append(str(broken))
    return breaches


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
