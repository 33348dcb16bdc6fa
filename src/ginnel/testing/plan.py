"""A random world out of a seed, as data: machines and their networks, weather, who talks to whom, what befalls them.

Room: testing. A plan says everything; play.py lets it happen. Faults come one after the other, so that between them
there is time to be steady again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from ginnel.testing import plan_pairs
from ginnel.testing.nat import (
    EASY,
    EASY_ADDRESS,
    EASY_BARE,
    EASY_OTHER_PORT,
    FULL_CONE,
    HARD,
    HARD_SEQUENTIAL,
    HOPS,
    STUN_ONLY,
    UDP_BLOCKED,
    NatKind,
    with_hairpin,
    with_idle,
)
from ginnel.testing.plan_faults import Fault, faults

KINDS: tuple[tuple[NatKind | None, int], ...] = (
    (None, 3),
    (EASY, 5),
    (EASY_BARE, 3),
    (EASY_OTHER_PORT, 2),
    (EASY_ADDRESS, 2),
    (FULL_CONE, 2),
    (HARD, 3),
    (HARD_SEQUENTIAL, 3),
    (UDP_BLOCKED, 1),
    (STUN_ONLY, 1),
)
CARRIERS = (EASY, FULL_CONE, HARD, EASY_ADDRESS)
SIZES = (2, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8, 12)
IDLES = (30.0, 120.0, 180.0)
OPENED = ("", "", "", "", "", "by hand", "mapped")
DISTANCES = (1, 2, 2, 4, 7)  # routers between a network and the middle of the internet
SHARED = 0.2  # of the machines sit behind the router of another one
BEGINS = (0.2, 2.0, 7.0, 20.0, 20.0, 240.0)
TALK_BUDGET = 200.0  # seconds of all conversations together, so that a seed stays cheap


@dataclass(frozen=True, slots=True)
class Router:
    """`carrier`: the number of the router that it is behind; None: on the internet."""

    kind: NatKind
    carrier: int | None = None
    place: float = 0.0
    hops: int = HOPS


@dataclass(frozen=True, slots=True)
class Machine:
    """`router`: its number; None: the open internet. `opened`: its router lets its port in: "by hand", and nobody told
    the node, or "mapped", and the node names it. `last`: of its address 192.168.1.x. `probing`: whether it may guess
    ports: "", or "forbidden" by the policy, or "metered"."""

    name: str
    router: int | None
    last: int
    port: int
    firewall: bool
    opened: str
    v4: bool
    v6: bool
    place: float
    rate: float
    hops: int
    punches: bool
    probing: str


@dataclass(frozen=True, slots=True)
class Talk:
    a: str
    b: str
    begins: float
    every: float
    seconds: float
    one_way: bool


@dataclass(frozen=True, slots=True)
class Weather:
    latency: float
    jitter: float
    loss: float
    duplicates: float
    relay_leg: float


@dataclass(frozen=True, slots=True)
class Plan:
    """`places`: of the regions' relays, in seconds. `denied`: (source, destination); `low_ports_closed`: machines where
    the policy opens ports from 1024 on."""

    seed: int
    weather: Weather
    places: tuple[float, ...]
    routers: tuple[Router, ...]
    machines: tuple[Machine, ...]
    talks: tuple[Talk, ...]
    denied: tuple[tuple[str, str], ...]
    low_ports_closed: tuple[str, ...]
    faults: tuple[Fault, ...]
    seconds: float

    def describe(self) -> list[str]:
        lines = [f"seed {self.seed}: {self.weather}, relays at {self.places}"]
        lines += [f"router {number}: {router}" for number, router in enumerate(self.routers)]
        lines += [str(each) for each in (*self.machines, *self.talks, *self.faults)]
        return [*lines, f"denied: {self.denied}, low ports closed at {self.low_ports_closed}"]


def plan(seed: int) -> Plan:
    random = Random(f"plan {seed}")  # noqa: S311 - a simulation must be repeatable
    places = tuple(random.choice((0.0, 0.01, 0.03)) for _ in range(random.choice((1, 1, 2, 3))))
    routers: list[Router] = []
    machines: list[Machine] = []
    pair = plan_pairs.kinds(random) if random.random() < plan_pairs.SHARE else ()
    for number in range(len(pair) or random.choice(SIZES)):
        machines.append(_machine(random, number, machines, routers, pair[number] if pair else None))
    names = [machine.name for machine in machines]
    if pair:
        begins = random.choice(plan_pairs.BEGINS)
        befalls = plan_pairs.pair_fault(random, (names[0], names[1]), begins)
        talks = [_long_talk(random, names, begins, befalls)]
    else:
        talks = _talks(random, names)
        befalls = faults(random, names, [(talk.a, talk.b) for talk in talks], len(places))
    ends = max([*(talk.begins + talk.seconds for talk in talks), *(fault.ends for fault in befalls)])
    return Plan(
        seed,
        _weather(random),
        places,
        tuple(routers),
        tuple(machines),
        tuple(talks),
        tuple(dict.fromkeys(_pair(random, names) for _ in range(random.choice((0, 0, 1, 2))))),
        tuple(name for name in names if random.random() < 0.1),
        tuple(befalls),
        seconds=ends + random.choice((5.0, 5.0, 60.0, 200.0)),
    )


def _weather(random: Random) -> Weather:
    return Weather(
        latency=random.choice((0.002, 0.02, 0.02, 0.08)),
        jitter=random.choice((0.0, 0.002, 0.01, 0.05)),
        loss=random.choice((0.0, 0.0, 0.01, 0.05, 0.1)),
        duplicates=random.choice((0.0, 0.0, 0.02)),
        relay_leg=random.choice((0.005, 0.02, 0.05)),
    )


def _machine(
    random: Random, number: int, others: list[Machine], routers: list[Router], wanted: NatKind | None
) -> Machine:
    """`wanted`: behind a router of its own of that kind."""
    place = random.choice((0.0, 0.0, 0.01, 0.04))
    v4 = wanted is not None or random.random() > 0.03
    if wanted is not None:
        router: int | None = _new_router(random, wanted, _used(others), routers, place)
    else:
        router = _router(random, others, routers, place) if v4 else None
    last = random.randrange(2, 6)
    while any(other.router == router and other.last == last for other in others):
        last += 1
    return Machine(
        name=f"m{number}",
        router=router,
        last=last,
        port=random.choice((0, 41641, 41641)),
        firewall=random.random() < (0.5 if router is None else 0.1),
        opened=random.choice(OPENED) if router is not None and wanted is None else "",
        v4=v4,
        v6=not v4 or (wanted is None and random.random() < 0.15),
        place=place,
        rate=1.0 + random.choice((0.0, 0.0, 1e-3, -1e-3)),
        hops=random.choice(DISTANCES),
        punches=random.random() > 0.05,
        probing=random.choices(("", "forbidden", "metered"), (90, 5, 5))[0],
    )


def _router(random: Random, others: list[Machine], routers: list[Router], place: float) -> int | None:
    used = _used(others)
    if used and random.random() < SHARED:
        return random.choice(used)
    kind = random.choices([kind for kind, _ in KINDS], [weight for _, weight in KINDS])[0]
    if kind is None:
        return None
    return _new_router(random, kind, used, routers, place)


def _used(others: list[Machine]) -> list[int]:
    """Routers that machines are behind."""
    return [other.router for other in others if other.router is not None]


def _new_router(random: Random, kind: NatKind, used: Sequence[int], routers: list[Router], place: float) -> int:
    """Perhaps behind a carrier's: a new one, or one of those that are not `used`."""
    carrier = None
    if random.random() < 0.12:
        carriers = [number for number, router in enumerate(routers) if number not in used and router.carrier is None]
        if carriers and random.random() < 0.5:
            carrier = carriers[0]
        else:
            kind_of_carrier = _habits(random, random.choice(CARRIERS))
            routers.append(Router(kind_of_carrier, None, place, random.choice(DISTANCES)))
            carrier = len(routers) - 1
    routers.append(Router(_habits(random, kind), carrier, place, random.choice(DISTANCES)))
    return len(routers) - 1


def _habits(random: Random, kind: NatKind) -> NatKind:
    kind = with_idle(kind, random.choice(IDLES))
    return with_hairpin(kind) if random.random() < 0.3 else kind


def _long_talk(random: Random, names: list[str], begins: float, befalls: list[Fault]) -> Talk:
    a, b = _pair(random, names)
    later = any(fault.at >= begins + plan_pairs.LATER for fault in befalls)
    seconds = plan_pairs.SECONDS_AND_LATER if later else plan_pairs.SECONDS
    return Talk(a, b, begins, random.choice((0.5, 1.0, 2.0)), seconds, random.random() < 0.15)


def _talks(random: Random, names: list[str]) -> list[Talk]:
    talks: list[Talk] = []
    budget = TALK_BUDGET
    for _ in range(random.randrange(1, len(names) + 1)):
        a, b = _pair(random, names)
        seconds = min(budget, random.choice((20.0, 60.0, 120.0)))
        if seconds < 20.0 or any({a, b} == {talk.a, talk.b} for talk in talks):
            continue
        budget -= seconds
        talks.append(
            Talk(a, b, random.choice(BEGINS), random.choice((0.5, 1.0, 2.0, 2.0, 3.0)), seconds, random.random() < 0.2)
        )
    return talks


def _pair(random: Random, names: list[str]) -> tuple[str, str]:
    a, b = random.sample(names, 2)
    return a, b
