"""What a fleet goes through, and what it costs: `python -m ginnel.testing.homes_story --clients 100000`.

Room: testing. Regions are added, restarted, killed, removed and drained under a crowd of clients; after each chapter:
who moved, how often, how long anybody was without a relay, and the busiest second of the busiest relay.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce

from ginnel.testing.homes import BEGINNING, Fleet
from ginnel.words import RegionId

CHAPTER = 60.0  # seconds until all is quiet again
IN_USE = 0.1  # part of the clients that carries traffic, and so measures each 23 s
RESTART = 1.0  # seconds that a relay is away

Load = dict[RegionId, tuple[Counter[int], Counter[int]]]


@dataclass(frozen=True, slots=True)
class Chapter:
    """`concerned`: clients of the region that something befell. `moves`: how many clients changed their home how often.
    `without`: seconds that clients were without their home relay, sorted; `cut_off`: who still is. `far`: whose home is
    farther by 30 ms there and back than the nearest. `load`: by relay and second."""

    name: str
    clients: int
    concerned: int
    moves: Counter[int]
    without: tuple[float, ...]
    cut_off: int
    far: int
    load: Load

    def add(self, other: Chapter) -> Chapter:
        """The same chapter with other people."""
        load = {
            number: (self.load[number][0] + other.load[number][0], self.load[number][1] + other.load[number][1])
            for number in self.load
        }
        return Chapter(
            self.name,
            self.clients + other.clients,
            self.concerned + other.concerned,
            self.moves + other.moves,
            tuple(sorted(self.without + other.without)),
            self.cut_off + other.cut_off,
            self.far + other.far,
            load,
        )

    @property
    def moved(self) -> int:
        return sum(self.moves.values())

    @property
    def busiest(self) -> tuple[int, int]:
        """Logins, and STUN requests, of one relay in one second."""
        return (
            max((max(logins.values(), default=0) for logins, _ in self.load.values()), default=0),
            max((max(asked.values(), default=0) for _, asked in self.load.values()), default=0),
        )


class _Story:
    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.chapters: list[Chapter] = []

    def chapter(self, name: str, event: Callable[[], object], seconds: float = CHAPTER, concerned: int = 0) -> None:
        fleet = self.fleet
        fleet.forget_measures()
        began = fleet.clock.now
        event()
        fleet.clock.run(seconds)
        self.chapters.append(
            Chapter(
                name,
                len(fleet.clients),
                concerned,
                Counter(client.moves for client in fleet.clients if client.moves),
                tuple(sorted(client.without for client in fleet.clients if client.without)),
                fleet.cut_off(),
                fleet.far_from_home(),
                fleet.loads(began),
            )
        )


def tell(seed: int, clients: int, regions: int, share: int = 0) -> list[Chapter]:
    """The whole story for so many clients."""
    fleet = Fleet(seed, clients=clients, regions=regions, share=share)
    story = _Story(fleet)
    old, numbers = (homes := sorted(fleet.regions))[0], iter(homes[1:])
    story.chapter("all begin", lambda: None, BEGINNING + CHAPTER)
    story.chapter("some are in use for five minutes", partial(fleet.some_look_again, IN_USE, 300.0), 330.0)
    story.chapter("a region is added", fleet.add_region)
    story.chapter("a relay restarts", partial(_restart, fleet, old), concerned=fleet.homes()[old])
    killed, drained = next(numbers), next(numbers)
    story.chapter("a relay is killed", partial(fleet.kill, killed), concerned=fleet.homes()[killed])
    story.chapter("its region is removed", partial(fleet.remove, killed))
    story.chapter("a region is drained", partial(fleet.drain, drained), concerned=fleet.homes()[drained])
    story.chapter("and removed", partial(fleet.remove, drained))
    return story.chapters


def _restart(fleet: Fleet, number: RegionId) -> None:
    fleet.kill(number, silent=False)
    fleet.clock.after(RESTART, fleet.revive, number)


def tell_in_shares(seed: int, clients: int, regions: int, jobs: int) -> list[Chapter]:
    """By several processes, each with its part of the people."""
    parts = [clients // jobs + (each < clients % jobs) for each in range(jobs)]
    with ProcessPoolExecutor(jobs) as pool:
        told = list(pool.map(tell, [seed] * jobs, parts, [regions] * jobs, range(jobs)))
    return [reduce(Chapter.add, chapters) for chapters in zip(*told, strict=True)]


COLUMNS = (("concerned", 9), ("moved", 8), ("most", 6), ("without", 9), ("cut off", 9), ("far", 6), ("logins/s", 10),
           ("STUN/s", 8))  # fmt: skip


def table(chapters: Sequence[Chapter]) -> str:
    lines = [_line("", [name for name, _ in COLUMNS])]
    for chapter in chapters:
        longest = f"{chapter.without[-1]:.1f}" if chapter.without else "-"
        numbers = (
            chapter.concerned,
            chapter.moved,
            max(chapter.moves, default=0),
            longest,
            chapter.cut_off,
            chapter.far,
        )
        lines.append(_line(chapter.name, [str(number) for number in (*numbers, *chapter.busiest)]))
    return "\n".join(lines)


def _line(name: str, cells: Sequence[str]) -> str:
    return f"{name:<34}" + "".join(cell.rjust(width) for cell, (_, width) in zip(cells, COLUMNS, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m ginnel.testing.homes_story", description=__doc__)
    parser.add_argument("--clients", type=int, default=100_000)
    parser.add_argument("--regions", type=int, default=30)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (one for each core)")
    asked = parser.parse_args()
    chapters = tell_in_shares(asked.seed, asked.clients, asked.regions, asked.jobs)
    sys.stdout.write(table(chapters) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
