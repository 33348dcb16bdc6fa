"""The relay beside derper: packets for each second of the relay's own CPU time, memory of an idle client.

Both run as processes on loopback, in turns, under the same generator; the machine's other cores hold the clients. A
packet of 1300 bytes counts when it has arrived whole and in order; CPU time is the whole process's, kernel included.

What the figure is depends on how packets come. The rows are of the dearest shape: each packet a TLS record and a write
of its own, as Go's client sends, and no more than `WINDOW` of a pair under way, where neither relay drops. The notes
have other shapes, one run each: larger windows, none at all (then the senders outrun any relay, and what it has read,
decrypted and dropped is paid for but not counted), and packets that share records and writes, as a node that sends in
batches does. The probe's times say how long the relay's threads wait for a processor on a machine that the generator
fills, more than what the relay needs.

`relay/p99` is the time of a probe through the relay while one pair loads it with half of what it carried just before.
`relay/flooded` is what arrives of a pair that offers 2,000 packets/s while four others send all they can to one
receiver.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from statistics import median

from bench import _peers
from bench import _relays as relays
from bench._rows import Row, burden, row

Start = Callable[[], AbstractContextManager[relays.Running]]
SECONDS = 3
VARIANT_SECONDS = 2
WINDOW = 32
IDLE = 500
MANY_IDLE = 10_000
MANY_IDLE_LIMIT = 250.0
STEADY_RATE = 2000
FLOODERS = 4
PEER = "derper"
ALONE, GLUED = 0, 16 << 10
LIMITS = {1: 500_000, 50: 350_000}


@dataclass(frozen=True)
class Shape:
    """How packets come: bytes that share a write and a TLS record (0: each alone), packets of a pair under way, what a
    sender offers a second (0: all it can), and how many others flood one receiver."""

    glue: int
    window: int
    rate: float = 0.0
    flood: int = 0

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
    flood: float  # packets of the flood that arrived in a second


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
    yield from _half_load(sides, n, absent)
    yield from _flooded(sides, n, absent)
    memory = [[_idle(side, IDLE) for side in sides] for _ in range(n)]
    mine, theirs = _in_columns(memory)
    notes = f"resident, {IDLE} logins; the kernel's socket buffers are not in it"
    yield row("relay/idle-client", "KiB", mine, theirs, peer=PEER, limit=24, notes=notes, absent=absent)
    many = [[_idle(side, MANY_IDLE) * MANY_IDLE / 1024 for side in sides] for _ in range(min(n, 2))]
    mine, theirs = _in_columns(many)
    notes = f"resident, {MANY_IDLE} logins"
    yield row("relay/idle-10000", "MiB", mine, theirs, peer=PEER, limit=MANY_IDLE_LIMIT, notes=notes, absent=absent)


def _in_columns(figures: list[list[float]]) -> tuple[list[float], list[float]]:
    return [run[0] for run in figures], [run[1] for run in figures if len(run) > 1]


def _half_load(sides: list[Start], n: int, absent: str) -> Iterator[Row]:
    """Each side at half of its own most, found just before."""
    loads, times = [], []
    for _ in range(n):
        most = [_run(side, 1, ROW, SECONDS).per_second for side in sides]
        shapes = [replace(ROW, rate=carried / 2) for carried in most]
        runs = [_run(side, 1, shape, SECONDS) for side, shape in zip(sides, shapes, strict=True)]
        loads.append([run.per_second for run in runs])
        times.append([run.p99_us / 1e3 for run in runs])
    carried = ", ".join(f"{median(side) / 1e3:.0f}k/s" for side in zip(*loads, strict=True))
    mine, theirs = _in_columns(times)
    yield row("relay/p99", "ms", mine, theirs, peer=PEER, limit=1.0, notes=f"at {carried}; {burden()}", absent=absent)


def _flooded(sides: list[Start], n: int, absent: str) -> Iterator[Row]:
    steady = Shape(ALONE, 128, rate=STEADY_RATE)
    shares, floods = [], []
    for _ in range(n):
        alone = [_run(side, 1, steady, SECONDS) for side in sides]
        flooded = [_run(side, 1, replace(steady, flood=FLOODERS), SECONDS) for side in sides]
        shares.append([b.per_second / a.per_second for a, b in zip(alone, flooded, strict=True)])
        floods.append([run.flood for run in flooded])
    carried = ", ".join(f"{median(side) / 1e3:.0f}k/s" for side in zip(*floods, strict=True))
    mine, theirs = _in_columns(shares)
    notes = (
        f"of {STEADY_RATE} packets/s of a pair; beside it {FLOODERS} senders' flood to one receiver, of which {carried}"
    )
    yield row("relay/flooded", "share", mine, theirs, peer=PEER, limit=0.9, notes=notes + " arrived", absent=absent)


def _figures(runs: list[list[Run]]) -> tuple[list[float], list[float]]:
    return [run[0].per_cpu_second for run in runs], [run[1].per_cpu_second for run in runs if len(run) > 1]


def _run(side: Start, pairs: int, shape: Shape, seconds: float) -> Run:
    options = ["--pairs", str(pairs), "--seconds", str(seconds), "--rate", str(shape.rate)]
    options += ["--window", str(shape.window), "--glue", str(shape.glue), "--flood", str(shape.flood)]
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
        found["flood"] / found["seconds"],
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


def _idle(side: Start, count: int) -> float:
    """KiB of each."""
    with side() as relay:
        before = relay.rss_kib()
        with relays.load(relay, "--idle", str(count)):
            return (relay.rss_kib() - before) / count
