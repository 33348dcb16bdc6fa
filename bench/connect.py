"""From the start of a daemon to a direct path, ours and the official one in turns, each pair in a lab of its own.

`connect/running`: from the start of the daemon's process to Running, with a first login by key: `up` is called as soon
as the daemon answers. `connect/first-byte`: from connect() to the first byte at the other end, `SETTLE` seconds after
both run; the notes have it for no wait at all, when a node may not yet know where the other one is.
`connect/direct`: from connect() until both ends call the path direct, a row for each kind of network; the one that
speaks first has the harder part. Both sides log in at the same server of ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from bench import _lab as lab
from bench._rows import Row, burden, not_measured, percentile, row, spread
from ginnel.lab import LabError

NETWORKS = {"flat": "none", "easy-easy": "easy", "host firewalls": "host-firewall-default-deny"}
SETTLE = 4.0
DIRECT_LIMIT = 15.0
LIMITS = {"connect/running": 1.0, "connect/first-byte": 0.020, "connect/direct": 0.3}
PEER = "tailscaled"
NO_DELAY = "links without delay (the kernel has no netem)"


@dataclass(frozen=True)
class Trial:
    running: float
    first_byte: float
    direct: float


def rows(n: int) -> Iterator[Row]:
    if refused := lab.why_not():
        yield from (not_measured(name, "s", refused, PEER) for name in LIMITS)
        return
    missing = lab.official_absent()
    names = ["ginnel"] if missing else ["ginnel", PEER]
    at_once = _in_turns("none", names, n, settle=0.0)
    for label, kind in NETWORKS.items():
        trials = _in_turns(kind, names, n, SETTLE)
        if label == "flat":
            yield _row("connect/running", _figures(trials, "running"), label, missing)
            hurried = [f"{side} {median(v):.3g} s ({spread(v)})" for side, v in _figures(at_once, "first_byte").items()]
            notes = f"{label}, {SETTLE:g} s after both run; with no wait: {', '.join(hurried)}"
            yield _row("connect/first-byte", _figures(trials, "first_byte"), notes, missing)
        yield _row("connect/direct", _figures(trials, "direct"), label, missing)


def _in_turns(kind: str, names: list[str], n: int, settle: float) -> dict[str, list[Trial]]:
    trials: dict[str, list[Trial]] = {name: [] for name in names}
    for _ in range(n):
        for name in names:
            trials[name].append(trial(kind, name, settle))
    return trials


def trial(kind: str, side: str, settle: float) -> Trial:
    """Two nodes that never met, from nothing to a direct path."""
    with lab.members(kind, 1, only=side) as found:
        a, b = found[side]
        a.start()
        b.start()
        time.sleep(settle)
        with lab.talking(a, b) as stream:
            direct = _wait_for_direct(a, b, stream.started)
            return Trial(a.seconds_to_running, stream.seconds_to_first_byte, direct)


def _wait_for_direct(a: lab.Member, b: lab.Member, started: float) -> float:
    addresses = a.address, b.address
    while (took := time.monotonic() - started) < DIRECT_LIMIT:
        if a.direct_to(addresses[1]) and b.direct_to(addresses[0]):
            return time.monotonic() - started
        time.sleep(lab.ASK_AGAIN)
    raise LabError(f"{a.side.name}: not direct after {took:.0f} s")


def _figures(trials: dict[str, list[Trial]], figure: str) -> dict[str, list[float]]:
    return {side: [getattr(trial, figure) for trial in found] for side, found in trials.items()}


def _row(name: str, figures: dict[str, list[float]], label: str, missing: str) -> Row:
    ours, theirs = figures["ginnel"], figures.get(PEER, [])
    tails = f"p95 ours {percentile(ours, 0.95):.3g}" + (f", theirs {percentile(theirs, 0.95):.3g}" if theirs else "")
    notes = f"{label}; {NO_DELAY}; {tails}; {burden()}"
    return row(name, "s", ours, theirs, peer=PEER, limit=LIMITS[name], notes=notes, absent=missing)
