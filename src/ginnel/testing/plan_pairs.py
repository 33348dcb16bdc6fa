"""Pairs that only a search gets through, with time enough for it, and what befalls them in the middle of it or after.

Room: testing.
"""

from __future__ import annotations

from random import Random

from ginnel.testing.nat import EASY, EASY_BARE, EASY_OTHER_PORT, HARD, HARD_SEQUENTIAL, NatKind
from ginnel.testing.plan_faults import Fault

SHARE = 0.2  # of all plans
PAIRS: tuple[tuple[tuple[NatKind, NatKind], int], ...] = (
    ((EASY, HARD), 3),
    ((EASY_BARE, HARD), 2),
    ((EASY_OTHER_PORT, HARD), 1),
    ((EASY_BARE, EASY_BARE), 2),
    ((EASY_BARE, EASY), 1),
    ((EASY, HARD_SEQUENTIAL), 2),
    ((EASY_BARE, HARD_SEQUENTIAL), 1),
    ((HARD_SEQUENTIAL, HARD_SEQUENTIAL), 2),
    ((HARD, HARD), 1),
    ((HARD, HARD_SEQUENTIAL), 1),
)
BEGINS = (0.2, 2.0, 7.0)
SECONDS, SECONDS_AND_LATER = 65.0, 130.0  # two searches, and two more after a fault
MIDDLE = (2.0, 9.0)  # seconds from its begin: the search is on
LATER = 62.0
IN_THE_MIDDLE = ("metered", "forbid_probing", "leave", "restart", "reboot_nat", "hole", "sleep")
AFTERWARDS = ("reboot_nat", "reboot_nat", "restart", "sleep", "hole", "metered", "region_down")


def kinds(random: Random) -> tuple[NatKind, NatKind]:
    """In either order."""
    one, other = random.choices([pair for pair, _ in PAIRS], [weight for _, weight in PAIRS])[0]
    return (one, other) if random.random() < 0.5 else (other, one)


def pair_fault(random: Random, names: tuple[str, str], begins: float) -> list[Fault]:
    """None, one in the middle of the search, or one when it is long over."""
    chance = random.random()
    if chance < 0.4:
        return []
    early = chance < 0.65
    at = begins + (random.uniform(*MIDDLE) if early else LATER)
    kind = random.choice(IN_THE_MIDDLE if early else AFTERWARDS)
    one = (random.choice(names),)
    match kind:
        case "hole":
            return [Fault(kind, at, names, random.choice((1.0, 4.0, 30.0)))]
        case "region_down":
            return [Fault(kind, at, ("1",), random.choice((5.0, 30.0)))]
        case "sleep" | "metered":
            return [Fault(kind, at, one, random.choice((4.0, 20.0)))]
    return [Fault(kind, at, one)]
