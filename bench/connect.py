"""From the start of a daemon to a direct path, ours and the official one in turns, each in labs of its own.

`connect/running`: from the start of the daemon's process to Running, with a first login by key: `up` is called as soon
as the daemon answers. `connect/first-byte`: from connect() to the first byte at the other end, `SETTLE` seconds after
both run; the notes have it for no wait at all, when a node may not yet know where the other one is.
`connect/direct`: from connect() until both ends call the path direct, a row for each kind of network; the one that
speaks first has the harder part. Both sides log in at the same server of ours.

On long links datagrams take the place of the TCP stream, one each 20 ms: `connect/first-byte` is then the time of the
first that arrives, one way, by the relay. A WireGuard handshake there and back and that datagram cross the relay three
times, which links of 20 ms make 0.12 s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from bench import _lab as lab
from bench._rows import Row, burden, not_measured, percentile, row, spread
from ginnel.lab import LabError
from ginnel.lab.echo import Echo
from ginnel.lab.processes import until

NETWORKS = {"flat": "none", "easy-easy": "easy", "host firewalls": "host-firewall-default-deny"}
LONG, LONG_KIND, ONE_WAY = "easy-easy, 20 ms from each site to the internet", "easy", 0.020
LONG_TRIALS = 20  # a p95 of fewer says nothing
PAIRS = 5  # that share a lab; each meets for the first time, the others being idle
SETTLE = 4.0
DIRECT_LIMIT = 15.0
LIMITS = {"connect/running": 1.0, "connect/first-byte": 0.020, "connect/direct": 0.3}
LONG_FIRST_BYTE = 0.2
PEER = "tailscaled"
NO_DELAY = "links without delay"


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
        yield _row("connect/direct", _figures(trials, "direct"), f"{label}, {NO_DELAY}", missing)
    yield from _long_links(names, n, missing)


def _long_links(names: list[str], n: int, missing: str) -> Iterator[Row]:
    meetings: dict[str, list[Meeting]] = {name: [] for name in names}
    while min(map(len, meetings.values())) < max(n, LONG_TRIALS):
        for name in names:
            meetings[name] += meet(LONG_KIND, name, ONE_WAY)
    first = {side: [each.first_byte for each in found] for side, found in meetings.items()}
    yield _row("connect/first-byte", first, f"{LONG}, by the relay", missing, LONG_FIRST_BYTE)
    speaks = [f"{side} {_ends(found)}" for side, found in meetings.items()]
    both = {side: [max(each.near, each.far) for each in found] for side, found in meetings.items()}
    yield _row("connect/direct", both, f"{LONG}; p95 at most 3 s; {'; '.join(speaks)}", missing)


def _ends(found: list[Meeting]) -> str:
    near, far = [each.near for each in found], [each.far for each in found]
    return f"speaks first {median(near):.3g} ({spread(near)}), is spoken to {median(far):.3g} ({spread(far)})"


@dataclass(frozen=True)
class Meeting:
    """Seconds from the first datagram: to the first that arrives, and until each end calls the path direct."""

    first_byte: float
    near: float
    far: float


def meet(kind: str, side: str, one_way: float) -> list[Meeting]:
    """`PAIRS` pairs that never met, one after the other."""
    with lab.members(kind, PAIRS, only=side, one_way=one_way) as found:
        for member in found[side]:
            member.start()
        time.sleep(SETTLE)
        return [_meet(a, b) for a, b in zip(found[side][::2], found[side][1::2], strict=True)]


def _meet(a: lab.Member, b: lab.Member) -> Meeting:
    a.knows(b)
    b.knows(a)
    spaces, addresses = a.lab.spaces, (a.address, b.address)
    with Echo(spaces[a.host], addresses[0], spaces[b.host], addresses[1]) as echo:
        until(lambda: echo.probes or None, SETTLE, "the first datagram")
        started = echo.probes[0].at
        near = far = 0.0
        while not (near and far):
            if (now := time.monotonic()) > started + DIRECT_LIMIT:
                raise LabError(f"{a.side.name}: not direct after {now - started:.0f} s")
            near = near or (time.monotonic() - started if a.direct_to(addresses[1]) else 0.0)
            far = far or (time.monotonic() - started if b.direct_to(addresses[0]) else 0.0)
            time.sleep(lab.ASK_AGAIN)
        return Meeting(echo.first_there() or DIRECT_LIMIT, near, far)


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


def _row(name: str, figures: dict[str, list[float]], label: str, missing: str, limit: float | None = None) -> Row:
    ours, theirs = figures["ginnel"], figures.get(PEER, [])
    tails = f"p95 ours {percentile(ours, 0.95):.3g}" + (f", theirs {percentile(theirs, 0.95):.3g}" if theirs else "")
    notes = f"{label}; {tails}; {burden()}"
    return row(name, "s", ours, theirs, peer=PEER, limit=limit or LIMITS[name], notes=notes, absent=missing)
