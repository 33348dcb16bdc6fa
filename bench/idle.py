"""Packets that an idle node causes: one minute on its host's interface, in and out, both sides in the same minute.

The row is about nodes with one peer they have spoken to and are silent to since; the notes have those that never spoke
to anybody. A minute is short beside what happens each few minutes; it holds the keepalives, which cost a battery.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

from bench import _lab as lab
from bench._rows import Row, not_measured, row

PAIRS = 3
WINDOW = 60.0
QUIET = 5.0
PEER = "tailscaled"


def rows(n: int) -> Iterator[Row]:
    if refused := lab.why_not():
        yield not_measured("idle/packets", "packets/minute", refused, PEER)
        return
    with lab.members("none", max(PAIRS, (n + 1) // 2)) as found:
        for pair in zip(*found.values(), strict=True):
            for member in pair:
                member.start()
        time.sleep(QUIET)
        alone = _minute(found)
        for members in found.values():
            for a, b in zip(members[::2], members[1::2], strict=True):
                _speak(a, b)
        time.sleep(QUIET)
        paired = _minute(found)
    none = "; ".join(f"{side} {median(figures):.0f}" for side, figures in alone.items())
    peers = sum(map(len, found.values())) - 1
    notes = f"{WINDOW:g} s, one peer spoken to before; with none: {none}; {peers} peers in the map"
    theirs = paired.get(PEER, [])
    absent = lab.official_absent()
    yield row("idle/packets", "packets/minute", paired["ginnel"], theirs, peer=PEER, notes=notes, absent=absent)


def _minute(found: dict[str, list[lab.Member]]) -> dict[str, list[float]]:
    before = {side: [member.packets() for member in members] for side, members in found.items()}
    time.sleep(WINDOW)
    return {
        side: [(member.packets() - count) * 60 / WINDOW for member, count in zip(members, before[side], strict=True)]
        for side, members in found.items()
    }


def _speak(a: lab.Member, b: lab.Member) -> None:
    """Until both ends are direct, then silence."""
    with lab.talking(a, b):
        deadline = time.monotonic() + 15
        while not (a.direct_to(b.address) and b.direct_to(a.address)) and time.monotonic() < deadline:
            time.sleep(0.1)
