"""Networks that change under a pair that talks: how long until traffic flows again, and until the path is direct again.

Two nodes behind home routers, 20 ms one way from each to the internet, a datagram each way every 20 ms and a TCP
stream all the while; ours and the official one in turns, in one lab, on the same server of ours. Times begin when the
fault is in force and end when the first datagram sent after it is back. The notes have the time of the TCP stream, the
worst, and the time until both ends call the path direct again.

`paths/black-hole`: UDP between the two outside addresses vanishes, or all UDP of one site. `paths/back-to-direct`: from
the end of it to direct at both ends. `paths/rebinding`: the router forgets every flow and maps to another port.
`paths/address-change`: another address on the same LAN, and another interface behind another router. `paths/link-up`:
the cable comes back after some seconds.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from statistics import median

from bench import _lab as lab
from bench._rows import Row, burden, not_measured, row, spread
from ginnel.lab import LabError
from ginnel.lab.echo import Echo
from ginnel.lab.faults import Faults
from ginnel.lab.traffic import Conversation

PEER = "tailscaled"
KIND = "easy"
ONE_WAY = 0.020
HOLD = (8.0, 14.0)  # how long a block stays, so that every timer has been through
SETTLE = (3.0, 6.5)  # from direct at both ends to the next fault, so that it falls anywhere between two heartbeats
DOWN = (2.0, 5.0)
FLOW_LIMIT = 30.0
DIRECT_LIMIT = 60.0
ASK_AGAIN = 0.02
SEED = 4
OTHERS = {"flows": ("stream", "direct"), "direct": ()}


@dataclass(frozen=True)
class Result:
    """Seconds; None: not within the limit."""

    flows: float | None
    stream: float | None
    direct: float | None


@dataclass(frozen=True)
class Waiting:
    """since: when the fault was in force; sent: bytes of the stream until then, None: only direct is waited for."""

    since: float
    sent: int | None = None
    direct_limit: float = DIRECT_LIMIT


@dataclass
class Pair:
    """Two nodes of one side that talk. The first is the one to which things happen."""

    a: lab.Member
    b: lab.Member
    faults: Faults
    chance: random.Random
    echo: Echo = field(init=False)
    stream: Conversation = field(init=False)

    def talk(self, stack: ExitStack) -> None:
        self.stream = stack.enter_context(lab.talking(self.a, self.b))
        spaces = self.a.lab.spaces
        ends = spaces[self.a.host], self.a.address, spaces[self.b.host], self.b.address
        self.echo = stack.enter_context(Echo(*ends))
        self.addresses = self.a.address, self.b.address

    def settled(self) -> bool:
        """Direct at both ends, and some time more."""
        if self.direct(time.monotonic()) is None:
            return False
        time.sleep(self.chance.uniform(*SETTLE))
        return True

    def direct(self, since: float, limit: float = DIRECT_LIMIT) -> float | None:
        return self.watch(Waiting(since, direct_limit=limit)).direct

    def hit(self) -> Waiting:
        """The fault is in force now."""
        return Waiting(time.monotonic(), self.stream.sent)

    def watch(self, wait: Waiting, fresh: Callable[[str], bool] | None = bool) -> Result:
        """Until everything has come or its limit has. fresh: whether b's endpoint for a is the one after the fault;
        None: direct is not waited for."""
        stream = direct = None
        while (now := time.monotonic()) < wait.since + wait.direct_limit:
            took = now - wait.since
            if stream is None and wait.sent is not None and self.stream.received > wait.sent:
                stream = took
            if direct is None and fresh is not None and fresh(self.b.endpoint_of(self.addresses[0])):
                direct = time.monotonic() - wait.since if self.a.direct_to(self.addresses[1]) else None
            flowing = wait.sent is None or took > FLOW_LIMIT or (stream and self.echo.first_back(wait.since))
            if flowing and (direct is not None or fresh is None):
                break
            time.sleep(max(0.0, now + ASK_AGAIN - time.monotonic()))
        back = self.echo.first_back(wait.since)
        return Result(back - wait.since if back else None, stream, direct)


# --- what goes wrong -------------------------------------------------------------------------------------------------


def blocked(pair: Pair, block: Callable[[], None], unblock: Callable[[], None]) -> Result:
    block()
    wait = pair.hit()
    result = pair.watch(wait, fresh=None)
    time.sleep(max(0.0, wait.since + pair.chance.uniform(*HOLD) - time.monotonic()))
    unblock()
    return replace(result, direct=pair.direct(time.monotonic()))


def black_hole(pair: Pair) -> Result:
    block = lambda: pair.faults.black_hole(pair.a.host, pair.b.host)  # noqa: E731
    return blocked(pair, block, pair.faults.end_black_holes)


def udp_blocked(pair: Pair) -> Result:
    host = pair.a.host
    return blocked(pair, lambda: pair.faults.block_udp(host), lambda: pair.faults.unblock_udp(host))


def rebinding(pair: Pair) -> Result:
    port = pair.faults.rebind(pair.a.host)
    return pair.watch(pair.hit(), lambda endpoint: endpoint.endswith(f":{port}"))


def new_lease(pair: Pair) -> Result:
    before = pair.b.endpoint_of(pair.addresses[0])
    pair.faults.renumber(pair.a.host)
    result = pair.watch(pair.hit(), lambda endpoint: endpoint not in ("", before))
    pair.a.lab.spaces[pair.faults.seat(pair.a.host).router].run(["conntrack", "-F"])  # or the next one finds it full
    return result


def moved(pair: Pair) -> Result:
    host, faults = pair.a.host, pair.faults
    home, other = f"nat-{host}", f"spare-{host}"
    target = other if faults.seat(host).interface == "eth0" else home
    faults.move(host, target)
    outside = f"{pair.a.lab.addresses[target]}:"
    return pair.watch(pair.hit(), lambda endpoint: endpoint.startswith(outside))


def link_up(pair: Pair) -> Result:
    pair.faults.link_down(pair.a.host)
    time.sleep(pair.chance.uniform(*DOWN))
    pair.faults.link_up(pair.a.host)
    return pair.watch(pair.hit())


@dataclass(frozen=True)
class Fault:
    row: str
    label: str
    run: Callable[[Pair], Result]
    limit: float
    worst: float
    heals: bool = False


FAULTS = (
    Fault("paths/black-hole", "between the two sites", black_hole, 1.5, 4.0, heals=True),
    Fault("paths/black-hole", "all UDP of one site", udp_blocked, 1.5, 4.0, heals=True),
    Fault("paths/address-change", "another address on the same LAN", new_lease, 1.0, 5.0),
    Fault("paths/address-change", "another interface, another router", moved, 1.0, 5.0),
    Fault("paths/link-up", "the cable comes back after 2 to 5 s", link_up, 1.0, 5.0),
    Fault("paths/rebinding", "the router forgets, and maps to another port", rebinding, 3.0, 7.0),
)


def rows(n: int, faults: tuple[Fault, ...] = FAULTS, only: str | None = None) -> Iterator[Row]:
    if refused := lab.why_not():
        yield from (not_measured(name, "s", refused, PEER) for name in dict.fromkeys(fault.row for fault in faults))
        return
    missing = lab.official_absent()
    with lab.members(KIND, 1, only, one_way=ONE_WAY, spares=True) as found, ExitStack() as stack:
        pairs = _start(found, stack)
        for fault in faults:
            results = _in_turns(pairs, fault, n)
            yield _row(fault, results, missing)
            if fault.heals:
                yield _row(Fault("paths/back-to-direct", fault.label, fault.run, 3.0, 3.0), results, missing)


def _start(found: dict[str, list[lab.Member]], stack: ExitStack) -> dict[str, Pair]:
    pairs: dict[str, Pair] = {}
    for side, (a, b) in found.items():
        a.start()
        b.start()
        faults = Faults(a.lab)
        faults.plug_in(a.host, f"spare-{a.host}")
        pairs[side] = Pair(a, b, faults, random.Random(SEED))
        pairs[side].talk(stack)
    return pairs


def _in_turns(pairs: dict[str, Pair], fault: Fault, n: int) -> dict[str, list[Result]]:
    results: dict[str, list[Result]] = {side: [] for side in pairs}
    for _ in range(n):
        for side, pair in pairs.items():
            if pair.settled():
                results[side].append(fault.run(pair))
                outcome: Result | str = results[side][-1]
            else:
                outcome = f"left out, and every router started anew: not direct again in {DIRECT_LIMIT:g} s"
                pair.a.lab.reset_nats()
            print(f"{fault.row}, {fault.label}: {side} {outcome}", file=sys.stderr)
    if not results["ginnel"]:
        raise LabError(f"no direct path in {DIRECT_LIMIT:g} s before any {fault.label}")
    return results


def _row(fault: Fault, results: dict[str, list[Result]], missing: str) -> Row:
    what = "direct" if fault.row == "paths/back-to-direct" else "flows"
    figures = {side: _figures(found, what, FLOW_LIMIT) for side, found in results.items()}
    told = [f"{fault.label}; 20 ms links, easy NATs; at most {fault.worst:g}"]
    for side, found in results.items():
        others = [f", {other} {_told(_figures(found, other, DIRECT_LIMIT))}" for other in OTHERS[what]]
        told.append(f"{side}: worst {max(figures[side]):.3g}{''.join(others)}")
    ours, theirs = figures["ginnel"], figures.get(PEER, [])
    notes = "; ".join([*told, burden()])
    return row(fault.row, "s", ours, theirs, peer=PEER, limit=fault.limit, notes=notes, absent=missing)


def _figures(found: list[Result], what: str, limit: float) -> list[float]:
    """What did not happen in time counts as the limit."""
    return [limit if (value := getattr(result, what)) is None else value for result in found]


def _told(figures: list[float]) -> str:
    return f"{median(figures):.3g} ({spread(figures)})"
