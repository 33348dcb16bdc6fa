"""The relay beside derper: packets for each second of the relay's own CPU time, memory of an idle client.

Both run as processes on loopback, in turns, under the same generator; the machine's other cores hold the clients. A
packet of 1300 bytes counts when it has arrived whole and in order; CPU time is the whole process's, kernel included.

What the figure is depends on how packets come. The rows are of the dearest shape: each packet a TLS record and a write
of its own, as Go's client sends, and no more than `WINDOW` of a pair under way, where neither relay drops. The notes
have other shapes, one run each: larger windows, none at all (then the senders outrun any relay, and what it has read,
decrypted and dropped is paid for but not counted), and packets that share records and writes, as a node that sends in
batches does. The probe's times say how long the relay's threads wait for a processor on a machine that the generator
fills, more than what the relay needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from statistics import median

from bench import _peers
from bench import _relays as relays
from bench._rows import Row, burden, row

Start = Callable[[], AbstractContextManager[relays.Running]]
SECONDS = 3
VARIANT_SECONDS = 2
WINDOW = 32
IDLE = 500
PEER = "derper"
ALONE, GLUED = 0, 16 << 10
LIMITS = {1: 500_000, 50: 350_000}


@dataclass(frozen=True)
class Shape:
    """How packets come: bytes that share a write and a TLS record (0: each alone), packets of a pair under way."""

    glue: int
    window: int

    def __str__(self) -> str:
        return f"{'each alone' if self.glue == ALONE else 'glued'}, window {self.window or 'none'}"


ROW = Shape(ALONE, WINDOW)
VARIANTS = (Shape(ALONE, 128), Shape(ALONE, 0), Shape(GLUED, 32), Shape(GLUED, 128), Shape(GLUED, 0))


@dataclass(frozen=True)
class Run:
    per_cpu_second: float
    per_second: float
    lost: float
    wrong: int
    tls: str
    p50_us: float
    p99_us: float


def rows(n: int) -> Iterator[Row]:
    binary = _peers.find("BENCH_DERPER")
    sides: list[Start] = [relays.ours]
    if binary is not None:
        sides.append(lambda: relays.derper(binary))
    absent = _peers.absent("BENCH_DERPER")
    for pairs, limit in LIMITS.items():
        runs = [[_run(side, pairs, ROW, SECONDS) for side in sides] for _ in range(n)]
        others = [(shape, [_run(side, pairs, shape, VARIANT_SECONDS) for side in sides]) for shape in VARIANTS]
        mine, theirs = _figures(runs)
        notes = _notes(runs, others)
        name = f"relay/pps-{pairs}"
        yield row(name, "packets/CPU second", mine, theirs, peer=PEER, limit=limit, notes=notes, absent=absent)
    memory = [[_idle(side) for side in sides] for _ in range(n)]
    mine, theirs = [run[0] for run in memory], [run[1] for run in memory if len(run) > 1]
    notes = f"resident, {IDLE} logins; the kernel's socket buffers are not in it"
    yield row("relay/idle-client", "KiB", mine, theirs, peer=PEER, limit=24, notes=notes, absent=absent)


def _figures(runs: list[list[Run]]) -> tuple[list[float], list[float]]:
    return [run[0].per_cpu_second for run in runs], [run[1].per_cpu_second for run in runs if len(run) > 1]


def _run(side: Start, pairs: int, shape: Shape, seconds: float) -> Run:
    options = ["--pairs", str(pairs), "--seconds", str(seconds)]
    options += ["--window", str(shape.window), "--glue", str(shape.glue)]
    with side() as relay, relays.load(relay, *options) as generator:
        before = relay.cpu_seconds()
        found = relays.run_load(generator)
        cpu = relay.cpu_seconds() - before
    return Run(
        found["received"] / cpu,
        found["received"] / found["seconds"],
        max(0.0, 1 - found["received"] / max(found["sent"], 1)),
        found["wrong"],
        found["tls"],
        found["p50_us"],
        found["p99_us"],
    )


def _notes(runs: list[list[Run]], others: list[tuple[Shape, list[Run]]]) -> str:
    ours, *theirs = zip(*runs, strict=True)
    middle = sorted(ours, key=lambda run: run.per_cpu_second)[len(ours) // 2]
    lost = ", theirs ".join(f"{median(run.lost for run in side):.1%}" for side in (ours, *theirs))
    told = [
        f"{ROW}: wall {middle.per_second / 1e3:.0f}k/s, not forwarded {lost}",
        f"damaged or out of order {sum(run.wrong for run in ours)}",
        f"{middle.tls}, probe p50 {middle.p50_us:.0f} p99 {middle.p99_us:.0f} us, {burden()}",
        "other shapes, one run each, ours then theirs (not forwarded):",
    ]
    return "; ".join(told) + " " + "; ".join(f"{shape}: {_variant(found)}" for shape, found in others)


def _variant(found: list[Run]) -> str:
    return " ".join(f"{run.per_cpu_second / 1e3:.0f}k ({run.lost:.1%})" for run in found)


def _idle(side: Start) -> float:
    with side() as relay:
        before = relay.rss_kib()
        with relays.load(relay, "--idle", str(IDLE)):
            return (relay.rss_kib() - before) / IDLE
