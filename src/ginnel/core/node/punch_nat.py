"""What our own NAT does to sockets that were just opened, judged from what STUN servers saw of them.

Room: core. Pure. One server is enough for a good guess, two at different addresses make it certain: where a NAT keeps
the port that the socket has, it keeps one mapping for all destinations; where ports come in a row, another destination
takes the next; and where neither holds, another destination takes any. A wrong guess costs a search that finds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ginnel.wire.punch import NatKind
from ginnel.words import Endpoint

ROW = 3  # ports
STEP_MAX = 16  # between the ports of two mappings made one after the other, for a NAT to count as sequential


@dataclass(frozen=True, slots=True)
class Sample:
    """A side socket on local port `port` asked `server`, which saw it as `mapped`."""

    port: int
    server: Endpoint
    mapped: Endpoint


@dataclass(frozen=True, slots=True)
class Nat:
    """`outside`: the last mapping that was made. `delta`: ports from one mapping to the next, of a sequential one."""

    kind: NatKind
    outside: Endpoint
    delta: int = 0


def judge(samples: Sequence[Sample]) -> Nat | None:
    """samples: in the order in which they were asked for. None: no answer, too few to tell a row of ports from others
    (some were lost), or different outside addresses."""
    if not samples or len({sample.mapped.ip for sample in samples}) > 1:
        return None
    outside = samples[-1].mapped
    seen: dict[int, set[Endpoint]] = {}
    asked: dict[int, set[Endpoint]] = {}
    for sample in samples:
        seen.setdefault(sample.port, set()).add(sample.mapped)
        asked.setdefault(sample.port, set()).add(sample.server)
    compared = [port for port in seen if len(asked[port]) > 1]
    one_mapping = all(len(seen[port]) == 1 for port in compared)
    kept = all(sample.mapped.port == sample.port for sample in samples)
    if (compared and one_mapping) or (not compared and kept):
        return Nat(NatKind.EASY, outside)
    if len(samples) < ROW:
        return None
    delta = step_of([sample.mapped.port for sample in samples])
    return Nat(NatKind.SEQUENTIAL, outside, delta) if delta else Nat(NatKind.RANDOM, outside)


def step_of(ports: Sequence[int]) -> int:
    """The smallest step of a row of ports that only goes one way; 0: it is none. Others' new mappings make gaps."""
    steps = [after - before for before, after in pairwise(ports)]
    if len(ports) < ROW or not (all(0 < s <= STEP_MAX for s in steps) or all(-STEP_MAX <= s < 0 for s in steps)):
        return 0
    return min(steps, key=abs)
