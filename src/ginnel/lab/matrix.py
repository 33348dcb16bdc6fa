"""Every ordered pair of kinds of network, in one mesh that stands for all of them.

Room: lab. Each kind stands twice, once for those that speak first and once for those that are spoken to, so no ordered
pair shares both its ends with another, and a path is always found for the first time. Pairs that share no end are tried
side by side.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ginnel.lab import LabError
from ginnel.lab.cell import Cell, judge_cell
from ginnel.lab.daemon import PROGRAMS, OfficialDaemon
from ginnel.lab.daemon import official as official_program
from ginnel.lab.expected import MATRIX, MATRIX_V6, Expected, expected, expected_with_official, left_to_chance
from ginnel.lab.instance import Lab
from ginnel.lab.kinds import kind_named
from ginnel.lab.members import GinnelNode
from ginnel.lab.mesh import Mesh
from ginnel.lab.names import NoNames
from ginnel.lab.official_client import caddy
from ginnel.lab.probe import probe
from ginnel.lab.processes import until
from ginnel.lab.report import Check, Move, Outcome
from ginnel.lab.scenario import Client, Expect, Member, Scenario
from ginnel.lab.topology import OBSERVER, Family

MEET_LIMIT = 30.0
OFFICIAL_KINDS = ["easy", "easy-bare", "hard-random", "udp-blocked", "double-nat"]
BOTH_OURS: tuple[Client, Client] = ("ginnel", "ginnel")
WITH_OFFICIAL: tuple[tuple[Client, Client], ...] = (
    ("ginnel", "official-daemon"),
    ("official-daemon", "ginnel"),
    ("ginnel", "official"),
    ("official", "ginnel"),
)
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Matrix:
    """clients: what runs where one speaks first, and where one is spoken to. one_way: seconds from a site to the
    internet. run: 1 for the first of several. moves: whether the direct path is taken away again, see `moves`."""

    kinds: tuple[str, ...] = tuple(MATRIX)
    clients: tuple[Client, Client] = BOTH_OURS
    one_way: float = 0.0
    run: int = 1
    moves: bool = True

    def cells(self) -> list[Cell]:
        ours = self.clients == BOTH_OURS
        pairs = [(a, b) for a in self.kinds for b in self.kinds]
        return [
            self.cell(a, b) for a, b in pairs if ours or not left_to_chance(kind_named(a).traits, kind_named(b).traits)
        ]

    def cell(self, a: str, b: str) -> Cell:
        rule = expected if self.clients == BOTH_OURS else expected_with_official
        want: Expected = rule(kind_named(a).traits, kind_named(b).traits)
        moves = self.moves and self.clients == BOTH_OURS
        return Cell(self.title(a, b), Expect(host("a", a), host("b", b), want.path), (a, b), want, moves)

    def title(self, a: str, b: str) -> str:
        names = f"{a}{mark(self.clients[0])}/{b}{mark(self.clients[1])}"
        return names + (f"#{self.run}" if self.run > 1 else "")

    def scenario(self) -> Scenario:
        sides = zip("ab", self.clients, strict=True)
        members = tuple(Member(host(side, kind), kind, client) for side, client in sides for kind in self.kinds)
        pairs = tuple(cell.pair for cell in self.cells())
        return Scenario("matrix", "every ordered pair of kinds", members, pairs, one_way=self.one_way)


def matrices(
    kinds: Sequence[str] | None = None,
    *,
    family: Family = 4,
    official: bool = False,
    one_way: float = 0.0,
    runs: int = 1,
    moves: bool = True,
) -> list[Matrix]:
    """All that is to be run. kinds: what is left out is everything that makes sense. LabError for an unknown one."""
    usual = MATRIX_V6 if family == 6 else OFFICIAL_KINDS if official else MATRIX
    chosen = tuple(kinds or usual)
    for kind in chosen:
        kind_named(kind)
    sides = WITH_OFFICIAL if official else (BOTH_OURS,)
    wanted = [Matrix(chosen, clients, one_way, run, moves) for clients in sides for run in range(1, runs + 1)]
    if not any(one.cells() for one in wanted):
        raise LabError(f"no pair of {', '.join(chosen)} comes to anything certain with an official client; add a kind")
    return wanted


def can_run(wanted: Iterable[Matrix]) -> None:
    """LabError where a program of others is not there that one of them needs: said before minutes are spent."""
    clients = {client for one in wanted for client in one.clients}
    if "official-daemon" in clients:
        for program in PROGRAMS:
            official_program(program)
    if "official" in clients:
        caddy()


def mark(client: Client) -> str:
    return "" if client == "ginnel" else f":{client}"


def host(side: str, kind: str) -> str:
    return f"{side}-{kind_named(kind).short}{changes(kind)}"


def changes(kind: str) -> str:
    """`easy+hairpin` beside `easy`: their hosts need two names."""
    return "".join(f"-{change[0]}" for change in kind.split("+")[1:])


def run_matrix(matrix: Matrix, tell: Tell, jobs: int = 0, logs: Path | None = None) -> list[Outcome]:
    """An outcome for each ordered pair; whatever goes wrong is a failed check in it. jobs: 0 for one on each core."""
    scenario, cells = matrix.scenario(), matrix.cells()
    try:
        with Lab(scenario.topology(), scenario.lengths()) as lab:
            try:
                trust_networks(lab, scenario, tell)
                with NoNames(lab.spaces[OBSERVER], lab.plan.observer[0]) as names:
                    mesh = Mesh(lab, scenario, tell, names)
                    mesh.start()
                    everybody_knows_everybody(mesh)
                    return try_all(mesh, cells, tell, jobs or os.cpu_count() or 1)
            finally:
                if logs is not None:
                    lab.copy_logs(logs / f"matrix-{'-'.join(matrix.clients)}-{matrix.run}")
    except (LabError, OSError) as error:
        tell(f"matrix: {error}")
        return [Outcome(cell.name, False, 0.0, [], [Check("ran", False, str(error))]) for cell in cells]


def trust_networks(lab: Lab, scenario: Scenario, tell: Tell) -> None:
    started = time.monotonic()
    for member in scenario.members:
        differences = kind_named(member.kind).traits.differences(probe(lab, member.name))
        if differences:
            raise LabError(f"{member.name} is not in {member.kind}, so nothing was tried: {'; '.join(differences)}")
    lab.reset_nats()
    tell(f"{len(scenario.members)} networks are what they claim to be, after {time.monotonic() - started:.1f} s")


def everybody_knows_everybody(mesh: Mesh) -> None:
    """What is timed is the finding of a path, not the joining of the mesh."""
    others = len(mesh.nodes) - 1
    nodes: list[GinnelNode | OfficialDaemon] = [*mesh.ours.values(), *mesh.daemons.values()]
    for node in nodes:
        until(partial(knows, node, others), MEET_LIMIT, f"{node.name} to hear of {others} others")


def knows(node: GinnelNode | OfficialDaemon, others: int) -> bool | None:
    peers = ((node.status() or {}).get("Peer") or {}).values()
    return sum(bool(peer["Online"]) for peer in peers) >= others or None


def try_all(mesh: Mesh, cells: Sequence[Cell], tell: Tell, jobs: int) -> list[Outcome]:
    """In the order of `cells`."""
    turns, found = Turns(cells), dict[str, Outcome]()

    def work() -> None:
        while (cell := turns.take()) is not None:
            try:
                outcome = judge_cell(mesh, cell)
            finally:
                turns.give_back(cell)
            found[cell.name] = outcome
            tell(f"[{len(found):3}/{len(cells)}] {line(outcome)}")

    with ThreadPoolExecutor(jobs) as pool:
        for done in [pool.submit(work) for _ in range(jobs)]:
            done.result()
    return [found[cell.name] for cell in cells]


class Turns:
    """Cells still to be tried; two that share a host never run at once. What takes longest begins first."""

    def __init__(self, cells: Iterable[Cell]) -> None:
        self.waiting = sorted(cells, key=lambda cell: -(cell.expected.within or 0.0))
        self.busy: set[str] = set()
        self.changed = threading.Condition()

    def take(self) -> Cell | None:
        """Blocks while every cell that is left has a busy host; None when none is left."""
        with self.changed:
            while self.waiting:
                for cell in self.waiting:
                    if not self.busy & cell.hosts:
                        self.waiting.remove(cell)
                        self.busy |= cell.hosts
                        return cell
                self.changed.wait()
            return None

    def give_back(self, cell: Cell) -> None:
        with self.changed:
            self.busy -= cell.hosts
            self.changed.notify_all()


def line(outcome: Outcome) -> str:
    """One pair as a person reads it, with the deciding facts where it failed."""
    verdict = "ok  " if outcome.passed else "FAIL"
    words = [f"{verdict} {outcome.name}:"]
    for pair in outcome.pairs:
        words.append(f"{pair.path} by {pair.technique}" if pair.path == "direct" else pair.path)
        if pair.seconds_to_direct_a is not None or pair.seconds_to_direct_b is not None:
            words.append(f"after {seconds(pair.seconds_to_direct_a)} and {seconds(pair.seconds_to_direct_b)} s,")
        words.append(f"first byte {seconds(pair.seconds_to_first_byte)} s{back(pair.to_relay)}")
    words += [f"| {check.id}: {check.detail}" for check in outcome.checks if not check.passed]
    return " ".join(words)


def back(move: Move | None) -> str:
    return "" if move is None else f", back on the relay after {seconds(move.seconds)} s"


def seconds(found: float | None) -> str:
    return "-" if found is None else f"{found:.2f}"
