"""The relay beside derper: packets for each second of the relay's own CPU time, memory of an idle client.

Both run as processes on loopback, in turn, under the same generator with a window for each pair; the machine's other
cores hold the clients. CPU time is what the kernel counts for the relay's threads (/proc/PID/task/*/schedstat),
packets are those that arrived. The probe's times say how long the relay's threads wait for a processor on a machine
that the generator fills, more than what the relay needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from bench import _relays as relays

Start = Callable[[], AbstractContextManager[relays.Running]]
SECONDS = 3
WINDOW = 128
"""Packets of a pair under way: about what one TCP stream keeps inside a tunnel."""

IDLE = 500
ABSENT = "derper is absent: set BENCH_DERPER or install Go"


def rows(n: int) -> Iterator[dict[str, object]]:
    binary = relays.find_derper()
    sides: list[Start] = [relays.ours]
    if binary is not None:
        sides.append(lambda: relays.derper(binary))
    for pairs, limit in ((1, 500_000), (50, 350_000)):
        runs = [[_packets(side, pairs) for side in sides] for _ in range(n)]
        notes = _notes([run[0] for run in runs]) + ("" if binary else f"; {ABSENT}")
        yield _row(f"relay/pps-{pairs}", "packets/CPU second", [[r["pps"] for r in run] for run in runs], limit, notes)
    memory = [[_idle(side) for side in sides] for _ in range(n)]
    yield _row("relay/idle-client", "KiB", memory, 24, f"{IDLE} logins" + ("" if binary else f"; {ABSENT}"))


def _row(name: str, unit: str, runs: list[list[float]], limit: float, notes: str) -> dict[str, object]:
    mine, theirs = [run[0] for run in runs], [run[1] for run in runs if len(run) > 1]
    return relays.row(name, unit, mine, theirs, limit, notes)


def _packets(side: Start, pairs: int) -> dict[str, float]:
    with (
        side() as relay,
        relays.load(relay, "--pairs", str(pairs), "--seconds", str(SECONDS), "--window", str(WINDOW)) as generator,
    ):
        before = relay.cpu_seconds()
        result = relays.run_load(generator)
        cpu = relay.cpu_seconds() - before
    return {**result, "cpu": cpu, "pps": result["received"] / cpu}


def _notes(runs: list[dict[str, float]]) -> str:
    middle = sorted(runs, key=lambda run: run["pps"])[len(runs) // 2]
    gbits = middle["received"] * 1300 * 8 / middle["seconds"] / 1e9
    lost = 1 - middle["received"] / max(middle["sent"], 1)
    probe = f"probe p50 {middle['p50_us']:.0f} p99 {middle['p99_us']:.0f} us"
    return f"wall {gbits:.2f} Gbit/s, not forwarded {lost:.1%}, {probe}"


def _idle(side: Start) -> float:
    with side() as relay:
        before = relay.rss_kib()
        with relays.load(relay, "--idle", str(IDLE)):
            return (relay.rss_kib() - before) / IDLE
