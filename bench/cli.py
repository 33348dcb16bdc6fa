"""Wall time of `status`, the interpreter's start included, beside the official command: both daemons stand in one lab
on an idle mesh, and the commands take turns."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import mean

from bench import _lab as lab
from bench._rows import Row, burden, not_measured, percentile, row

LEAST = 20
LIMIT = 0.080


def rows(n: int) -> Iterator[Row]:
    """At least `LEAST` runs of each."""
    if refused := lab.why_not():
        yield not_measured("cli/status", "s", refused, "tailscale")
        return
    runs = max(n, LEAST)
    with lab.members("none", 1) as found:
        firsts = []
        for members in found.values():
            for member in members:
                member.start()
            firsts.append(members[0])
        for member in firsts:
            member.timed("status")  # bytecode and page cache are warm for both
        times = [[member.timed("status") for member in firsts] for _ in range(runs)]
    ours, theirs = [run[0][0] for run in times], [run[1][0] for run in times if len(run) > 1]
    cpu = ", ".join(f"{mean(run[i][1] for run in times):.3f}" for i in range(len(firsts)))
    notes = f"p95 ours {percentile(ours, 0.95):.3g}; CPU seconds of each, in the mean: {cpu}; {burden()}"
    absent = lab.official_absent()
    yield row("cli/status", "s", ours, theirs, peer="tailscale", limit=LIMIT, notes=notes, absent=absent)
