"""What a matrix comes to, over all its runs: does it hold, how long did it take, and the table to put into a page.

Room: lab.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field

from ginnel.lab.expected import BY_CHANCE, LETTERS, Technique
from ginnel.lab.kinds import KINDS
from ginnel.lab.report import Move, Outcome, Pair

OFTEN_ENOUGH = 0.9  # of the runs, for what goes by chance; everything else goes always
ORDINARY = ("local", "answer", "mapping", "punch")


@dataclass(slots=True)
class Tally:
    """All runs of one ordered pair."""

    runs: int = 0
    passed: int = 0
    pairs: list[Pair] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        by_chance = any(pair.expected_technique in BY_CHANCE for pair in self.pairs)
        return self.passed >= self.runs * (OFTEN_ENOUGH if by_chance else 1.0)

    @property
    def seconds(self) -> list[float]:
        return [pair.seconds_to_direct for pair in self.pairs if pair.seconds_to_direct is not None]

    def cell(self) -> str:
        """The letter of what was found and the median seconds to direct; ! where it does not hold."""
        letters = {LETTERS[technique(pair)] if pair.path != "none" else "-" for pair in self.pairs}
        words = ["" if self.holds else "!", "/".join(sorted(letters)) or "-"]
        return "".join(words) + (f" {median(self.seconds):.2g}" if self.seconds else "")


def technique(pair: Pair) -> Technique:
    return next((name for name in LETTERS if name == pair.technique), "relay")


def tally(outcomes: Iterable[Outcome]) -> dict[str, Tally]:
    """By `kind/kind`, in the order of the first run."""
    found: dict[str, Tally] = {}
    for outcome in outcomes:
        one = found.setdefault(outcome.name.partition("#")[0], Tally())
        one.runs += 1
        one.passed += outcome.passed
        one.pairs += outcome.pairs
    return found


def holds(outcomes: Iterable[Outcome]) -> bool:
    return all(one.holds for one in tally(outcomes).values())


def summary(outcomes: list[Outcome]) -> list[str]:
    """Lines for a person: one for each pair that does not hold, then the figures by technique."""
    tallies = tally(outcomes)
    lines = [f"not as expected: {name}, {t.passed} of {t.runs} runs" for name, t in tallies.items() if not t.holds]
    pairs = [pair for one in tallies.values() for pair in one.pairs]
    for name in dict.fromkeys(pair.expected_technique for pair in pairs if pair.expected_technique != "relay"):
        these = [pair for pair in pairs if pair.expected_technique == name]
        lines.append(f"{name:12} {figures(these)}")
    ordinary = [pair for pair in pairs if pair.expected_technique in ORDINARY]
    if ordinary:
        lines.append(f"{'ordinary':12} {figures(ordinary)}")
    first = [pair.seconds_to_first_byte for pair in pairs if pair.seconds_to_first_byte is not None]
    lines.append(f"first byte   p50 {median(first):.3f} s, p95 {p95(first):.3f} s, max {max(first, default=0):.3f} s")
    lines += moved(
        "to direct", {name: [p.to_direct for p in one.pairs if p.to_direct] for name, one in tallies.items()}
    )
    lines += moved("to relay", {name: [p.to_relay for p in one.pairs if p.to_relay] for name, one in tallies.items()})
    return lines


def moved(title: str, found: dict[str, list[Move]]) -> list[str]:
    """What all moves of one kind cost together, and which cost most. found: by `kind/kind`."""
    moves = [(move, name) for name, these in found.items() for move in these]
    if not moves:
        return []
    live = sum(move.stream_lives for move, _ in moves)
    times = [move.seconds for move, _ in moves if move.seconds is not None]
    lost, most = sum(move.datagrams_lost for move, _ in moves), worst(moves, "datagrams_lost")
    still, silent = worst(moves, "stream_still"), worst(moves, "silence")
    return [
        f"{title:12} {live} of {len(moves)} streams live: p50 {median(times):.3f} s, p95 {p95(times):.3f} s,"
        f" max {max(times, default=0):.3f} s",
        f"{'':12} lost {lost} of {sum(move.datagrams for move, _ in moves)} datagrams,"
        f" {sum(move.bytes_lost for move, _ in moves)} bytes; worst {most[0]:g} in {most[1]}",
        f"{'':12} silence at most {silent[0]:.2f} s in {silent[1]}, stream still {still[0]:.2f} s in {still[1]}",
    ]


def worst(moves: list[tuple[Move, str]], what: str) -> tuple[float, str]:
    """The greatest figure of that name, and whose it is."""
    return max(((getattr(move, what), name) for move, name in moves), key=lambda one: one[0])


def figures(pairs: list[Pair]) -> str:
    found = [pair.seconds_to_direct for pair in pairs if pair.seconds_to_direct is not None]
    times = f": p50 {median(found):.3f} s, p95 {p95(found):.3f} s, max {max(found):.3f} s" if found else ""
    return f"direct {len(found)} of {len(pairs)}{times}"


def grid_of(outcomes: list[Outcome]) -> str:
    """The measured table in Markdown, as the expected one; one for each pair of clients."""
    by_clients: dict[tuple[str, str], dict[str, Tally]] = {}
    for name, one in tally(outcomes).items():
        a, b = name.split("/")
        by_clients.setdefault((a.partition(":")[2], b.partition(":")[2]), {})[name] = one
    return "\n".join(map(one_grid, by_clients.values()))


def one_grid(tallies: dict[str, Tally]) -> str:
    rows = list(dict.fromkeys(name.partition("/")[0] for name in tallies))
    columns = list(dict.fromkeys(name.partition("/")[2] for name in tallies))
    lines = [["speaks first \\ answers", *map(short, columns)], ["---"] * (len(columns) + 1)]
    lines += [[row, *(cell_of(tallies.get(f"{row}/{column}")) for column in columns)] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def cell_of(one: Tally | None) -> str:
    """A pair that was left out has no tally."""
    return one.cell() if one is not None else "-"


def short(title: str) -> str:
    kind, _, client = title.partition(":")
    return (KINDS[kind].short if kind in KINDS else kind) + (f":{client}" if client else "")


def median(numbers: list[float]) -> float:
    return statistics.median(numbers) if numbers else 0.0


def p95(numbers: list[float]) -> float:
    return statistics.quantiles(numbers, n=20, method="inclusive")[-1] if len(numbers) > 1 else median(numbers)
