"""One ordered pair of the matrix, tried in the mesh that stands.

Room: lab. The first packet that traffic wants to send starts the clock; both ends are asked for their path until both
are direct or the time is over. A pair that shall stay relayed is held for as long as a second round of discovery takes.
From a pair that became direct the path is taken away again: its stream has to live through both moves.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from msgspec.structs import replace

from ginnel.lab import LabError, report
from ginnel.lab.evidence import deciding_facts, technique_of
from ginnel.lab.expected import Expected
from ginnel.lab.members import Node, Way
from ginnel.lab.mesh import Mesh
from ginnel.lab.moves import Moving, moving, told
from ginnel.lab.report import Check, Move, Outcome, Pair
from ginnel.lab.scenario import Expect
from ginnel.lab.talk import Talk

RELAY_HOLD = 6.0  # discovery repeats each 5 s
PAYLOAD = bytes(range(256)) * 1024  # 256 KiB
PAYLOAD_LIMIT = 20.0
SOON, GROWTH, LATE = 0.01, 0.05, 0.25  # how often both ends are asked: five times in each doubling of the time


@dataclass(frozen=True, slots=True)
class Cell:
    """moves: whether traffic is watched while the path changes, and the direct path taken away."""

    name: str
    pair: Expect
    kinds: tuple[str, str]
    expected: Expected
    moves: bool = False

    @property
    def hosts(self) -> set[str]:
        return {self.pair.a, self.pair.b}


@dataclass(slots=True)
class Watch:
    """Both ends' paths; `since` has when each last became direct, in seconds from the start."""

    a: Node
    b: Node
    started: float
    ways: tuple[Way, Way] = (Way("none"), Way("none"))
    since: list[float | None] = field(default_factory=lambda: [None, None])

    def look(self) -> float:
        """Ask both; the seconds since the start."""
        now = time.monotonic() - self.started
        self.ways = self.a.way_to(self.b.address), self.b.way_to(self.a.address)
        for end, way in enumerate(self.ways):
            if way.path != "direct":
                self.since[end] = None
            elif self.since[end] is None:
                self.since[end] = round(now, 3)
        return now

    def both(self, path: str) -> bool:
        return all(way.path == path for way in self.ways)

    @property
    def seconds(self) -> float | None:
        """Until the later of them."""
        return max((since for since in self.since if since is not None), default=None)

    def until_direct(self, within: float) -> bool:
        while (now := self.look()) < within and not self.both("direct"):
            time.sleep(min(LATE, max(SOON, now * GROWTH)))
        return self.both("direct")

    def stays_relayed(self, hold: float) -> bool:
        while self.look() < hold and not any(way.path == "direct" for way in self.ways):
            time.sleep(LATE)
        return self.both("relay")


def judge_cell(mesh: Mesh, cell: Cell) -> Outcome:
    """Never raises for what the pair shows; whatever goes wrong is a failed check."""
    started = time.monotonic()
    checks: list[Check] = []
    pairs: list[Pair] = []
    try:
        with ExitStack() as stack:
            talk = mesh.talk(cell.pair)
            traffic = moving(mesh, cell.pair, talk, stack) if cell.moves else None
            stack.enter_context(talk)
            pairs.append(try_pair(mesh, cell, talk, checks, traffic))
            if traffic is not None and pairs[0].to_direct is not None:
                pairs[0] = replace(pairs[0], to_relay=noted("relay", traffic.to_relay(), checks))
    except (LabError, OSError) as error:
        checks.append(Check("ran-to-the-end", False, str(error)))
    passed = all(check.passed for check in checks)
    return Outcome(cell.name, passed, round(time.monotonic() - started, 3), pairs, checks)


def try_pair(mesh: Mesh, cell: Cell, talk: Talk, checks: list[Check], traffic: Moving | None) -> Pair:
    watch = Watch(mesh.nodes[cell.pair.a], mesh.nodes[cell.pair.b], talk.started)
    if cell.expected.within is None:
        fine, want = watch.stays_relayed(RELAY_HOLD), "stays-relayed"
    else:
        fine, want = watch.until_direct(cell.expected.within), f"direct-within-{cell.expected.within:g}-s"
    checks.append(
        Check(want, fine, words_of(watch) if fine else f"{words_of(watch)}; {deciding_facts(mesh, cell.pair)}")
    )
    to_direct = None
    if traffic is not None and fine and watch.both("direct"):
        to_direct = noted("direct", traffic.to_direct(watch.seconds), checks)
    took = talk.carry(PAYLOAD, PAYLOAD_LIMIT)
    checks.append(Check("payload", took is not None, f"{len(PAYLOAD)} bytes in {took or PAYLOAD_LIMIT:.2f} s"))
    return replace(pair_of(mesh, cell, watch, talk), to_direct=to_direct)


def noted(where: report.Path, move: Move, checks: list[Check]) -> Move:
    """A path that is still called direct when it was taken away was not taken away, or is not what it is called."""
    fine = move.stream_lives and move.path == where
    checks.append(Check(f"stream-moves-to-{where}", fine, told(move)))
    return move


def words_of(watch: Watch) -> str:
    return " and ".join(f"{way.path} {way.endpoint or way.region}".rstrip() for way in watch.ways)


def pair_of(mesh: Mesh, cell: Cell, watch: Watch, talk: Talk) -> Pair:
    at_a, at_b = watch.ways
    direct = watch.both("direct")
    return Pair(
        cell.pair.a,
        cell.pair.b,
        cell.pair.path,
        "direct" if direct else "relay" if "relay" in (at_a.path, at_b.path) else "none",
        at_a.endpoint,
        at_a.region,
        round(talk.seconds_to_first_byte, 3),
        watch.seconds if direct else None,
        endpoint_at_b=at_b.endpoint,
        seconds_to_direct_a=watch.since[0],
        seconds_to_direct_b=watch.since[1],
        within=cell.expected.within,
        technique=technique_of(mesh, cell.pair, cell.kinds, watch.ways) if direct else "relay",
        expected_technique=cell.expected.technique,
    )
