"""Memory of a node's daemon beside the official one: several of each in one lab, idle, and after a load."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from bench import _lab as lab
from bench._rows import Row, not_measured, row
from ginnel.lab.traffic import throughput

PAIRS = 3
LIMIT = 60.0
SETTLE = 5.0
LOAD = 3.0
PEER = "tailscaled"


def rows(n: int) -> Iterator[Row]:
    """One row: MiB resident, `SETTLE` seconds after the last node runs; each node is one measurement."""
    if refused := lab.why_not():
        yield not_measured("node/rss", "MiB", refused, PEER)
        return
    with lab.members("none", max(PAIRS, (n + 1) // 2)) as found:
        for pair in zip(*found.values(), strict=True):
            for member in pair:
                member.start()
        time.sleep(SETTLE)
        idle = {side: [member.rss() for member in members] for side, members in found.items()}
        loaded = {side: _loaded(members[0], members[1]) for side, members in found.items()}
    load = "; ".join(f"{side} {median(figures):.0f}" for side, figures in loaded.items())
    notes = f"idle; after {LOAD:g} s of one TCP stream (both ends): {load}"
    absent = lab.official_absent()
    yield row("node/rss", "MiB", idle["ginnel"], idle.get(PEER, []), peer=PEER, limit=LIMIT, notes=notes, absent=absent)


def _loaded(a: lab.Member, b: lab.Member) -> list[float]:
    a.knows(b)
    b.knows(a)
    throughput(a.lab.spaces[a.host], b.lab.spaces[b.host], b.address, LOAD)
    return [a.rss(), b.rss()]
