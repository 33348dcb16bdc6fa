"""What checks say of each other: how far away a host is, and whether a name that seems to lie does any harm.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from ginnel.core.firewall.evidence import Ending, Step
from ginnel.core.firewall.report import Check, Result
from ginnel.core.firewall.verdict import classify

NO_STUN = "not known: STUN, by which it is tried, is blocked from every port"


def joined(checks: Iterable[Check]) -> list[Check]:
    """The same checks, with what only all together show."""
    every = list(checks)
    trips = _round_trips(every)
    reached = {(check.target, check.target.host) for check in every if check.address and check.result is Result.PASSED}
    kept = [check for check in every if not (_is_dead_end(check) and (check.target, check.target.host) in reached)]
    return [_with_trip(check, trips) for check in _without_stun(kept)]


def _without_stun(checks: Sequence[Check]) -> Iterator[Check]:
    """The tunnel's port is tried by STUN: where no server answers that from any port, nothing is known of this one."""
    stun: dict[int, list[Check]] = {}
    for check in checks:
        if check.target.need.partition("-")[0] == "stun" and check.address and check.result is not Result.UNTRIED:
            stun.setdefault(check.family, []).append(check)
    for check in checks:
        others = stun.get(check.family, ())
        unknown = check.target.need == "tunnel" and check.result is Result.FAILED and others
        if unknown and all(other.result is Result.FAILED for other in others):
            yield replace(check, verdict=None, why=NO_STUN)
        else:
            yield check


def _round_trips(checks: Sequence[Check]) -> dict[str, float]:
    """By address: the least that STUN took, seconds."""
    trips: dict[str, float] = {}
    for check in checks:
        verdict = check.verdict
        if verdict is not None and verdict.evidence.step is Step.STUN and verdict.evidence.done:
            trips[check.address] = min(verdict.evidence.seconds, trips.get(check.address, float("inf")))
    return trips


def _with_trip(check: Check, trips: dict[str, float]) -> Check:
    verdict = check.verdict
    if verdict is None or check.address not in trips:
        return check
    evidence = verdict.evidence
    if evidence.step not in (Step.CONNECT, Step.PORT80) or evidence.ending is not Ending.REFUSED:
        return check
    return replace(check, verdict=classify(replace(evidence, round_trip=trips[check.address])))


def _is_dead_end(check: Check) -> bool:
    """A name that leads to this machine itself, of which nobody knows better: right on the machine that bears it."""
    verdict = check.verdict
    return not check.address and verdict is not None and not verdict.passed and not verdict.evidence.expected
