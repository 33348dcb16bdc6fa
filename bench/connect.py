"""From the start of a daemon to a direct path, ours and the official one in turns, each pair in a lab of its own.

`connect/running`: from the start of the daemon's process to Running, with a first login by key: `up` is called as soon
as the daemon answers. `connect/first-byte`: from connect() to the first byte at the other end, right after both run.
`connect/direct`: from connect() until both ends call the path direct, a row for each kind of network; the one that
speaks first has the harder part. Both sides log in at the same server of ours.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench import _lab as lab
from bench._rows import Row, burden, not_measured, percentile, row
from ginnel.lab import LabError

NETWORKS = {"flat": "none", "easy-easy": "easy", "host firewalls": "host-firewall-default-deny"}
DIRECT_LIMIT = 15.0
UNITS = {"connect/running": 1.0, "connect/first-byte": 0.020, "connect/direct": 0.3}
PEER = "tailscaled"
NO_DELAY = "links without delay (the kernel has no netem)"


@dataclass(frozen=True)
class Trial:
    running: float
    first_byte: float
    direct: float


def rows(n: int) -> Iterator[Row]:
    if refused := lab.why_not():
        yield from (not_measured(name, "s", refused, PEER) for name in UNITS)
        return
    missing = lab.official_absent()
    names = ["ginnel"] if missing else ["ginnel", PEER]
    for label, kind in NETWORKS.items():
        trials: dict[str, list[Trial]] = {"ginnel": [], PEER: []}
        for _ in range(n):
            for name in names:
                trials[name].append(trial(kind, name))
        if label == "flat":
            yield _row("connect/running", trials, "running", label, missing)
            yield _row("connect/first-byte", trials, "first_byte", label, missing)
        yield _row("connect/direct", trials, "direct", label, missing)


def trial(kind: str, side: str) -> Trial:
    """Two nodes that never met, from nothing to a direct path."""
    with lab.members(kind, 1, only=side) as found:
        a, b = found[side]
        a.start()
        b.start()
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


def _row(name: str, trials: dict[str, list[Trial]], figure: str, label: str, missing: str) -> Row:
    ours, theirs = ([getattr(trial, figure) for trial in trials[side]] for side in ("ginnel", PEER))
    tails = f"p95 ours {percentile(ours, 0.95):.3g}" + (f", theirs {percentile(theirs, 0.95):.3g}" if theirs else "")
    notes = f"{label}, {NO_DELAY}; {tails}; {burden()}"
    return row(name, "s", ours, theirs, peer=PEER, limit=UNITS[name], notes=notes, absent=missing)
