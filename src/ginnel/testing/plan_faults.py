"""What befalls the machines of a plan, and when.

Room: testing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

FIRST_AT = (10.0, 25.0, 45.0)
STEADY = 45.0  # between the end of a fault and the next: time to be direct again, and for that to be checked


@dataclass(frozen=True, slots=True)
class Fault:
    """`kind`: a method of play.py's `Player`. `who`: machines, or a region's number as text. `lasts`: 0: nothing is to
    be undone."""

    kind: str
    at: float
    who: tuple[str, ...]
    lasts: float = 0.0

    @property
    def ends(self) -> float:
        return self.at + self.lasts


MOVES = ("move_to_easy", "move_to_hard", "move_to_open", "move_to_v6")


def faults(random: Random, names: Sequence[str], pairs: Sequence[tuple[str, str]], regions: int) -> list[Fault]:
    """`pairs`: those who talk; most faults hit them."""
    befalls: list[Fault] = []
    at = random.choice(FIRST_AT)
    for _ in range(random.choice((0, 1, 1, 2, 3))):
        fault = _fault(random, at + random.random() * 3.0, names, pairs, regions)
        befalls.append(fault)
        at = fault.ends + STEADY
        if fault.kind == "leave":
            break  # nothing more befalls it
    return befalls


def _fault(random: Random, at: float, names: Sequence[str], pairs: Sequence[tuple[str, str]], regions: int) -> Fault:
    pair = random.choice(pairs) if pairs else (names[0], names[1])
    one = (random.choice(pair),)
    match random.randrange(12):
        case 0:
            return Fault("reboot_nat", at, one)
        case 1:
            return Fault("hole", at, pair, random.choice((3.0, 20.0, 60.0)))
        case 2:
            return Fault("region_down", at, (str(random.randrange(1, regions + 1)),), random.choice((5.0, 40.0)))
        case 3:
            return Fault("control_away", at, (), random.choice((5.0, 40.0)))
        case 4:
            return Fault("restart", at, one)
        case 5:
            return Fault("sleep", at, one, random.choice((4.0, 30.0, 90.0)))
        case 6:
            return Fault(random.choice(MOVES), at, one)
        case 7:
            return Fault("storm", at, (), random.choice((3.0, 15.0)))
        case 8:
            return Fault("deny", at, pair)
        case 9:
            return Fault(random.choice(("forbid_probing", "metered")), at, one, random.choice((10.0, 40.0)))
        case 10:
            return Fault("leave", at, one)
        case _:
            return Fault("move_unheard", at, one, 40.0)
