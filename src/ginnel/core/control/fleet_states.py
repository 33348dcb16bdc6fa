"""The states of a relay of the fleet, and what the fleet asks for.

Room: core.

    joined -> probing -> (announced) -> in map -> failing -> out -> (probing)
                                           |  ^                 |
                                           v  | undrain         v back after `recoveries` good probes
                                       draining -> drained   (announced) -> in map

A relay is announced for a while before the map names it where firewalls follow a list of addresses (allowlist_feed.py).
"""

from __future__ import annotations

from dataclasses import dataclass

from ginnel.core.control.fleet_records import Kept
from ginnel.words import Instant


@dataclass(frozen=True, slots=True)
class FleetRules:
    """Seconds between two probes of a relay that is well; failures in a row until it is out; good ones until it is
    back; seconds from a failed probe, or a first good one, to the next."""

    interval: float = 15.0
    failures: int = 3
    recoveries: int = 2
    again: float = 1.0


# --- states ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probing:
    """Not in the map yet. `tries`: probes that failed."""

    tries: int = 0


@dataclass(frozen=True, slots=True)
class Announced:
    """It answers; the map may name it from then on."""

    until: Instant


@dataclass(frozen=True, slots=True)
class InMap:
    pass


@dataclass(frozen=True, slots=True)
class Failing:
    """In the map, but the last probes failed."""

    since: Instant
    failures: int = 1


@dataclass(frozen=True, slots=True)
class Out:
    """`good`: probes in a row that succeeded again."""

    good: int = 0


@dataclass(frozen=True, slots=True)
class Draining:
    """In the map, but not for long. `own`: it was the relay's own wish, which it may take back; never an admin's."""

    until: Instant
    failures: int = 0
    own: bool = False


@dataclass(frozen=True, slots=True)
class Drained:
    """`own`: as above."""

    own: bool = False


State = Probing | Announced | InMap | Failing | Out | Draining | Drained
NAMES: dict[type, str] = {
    Probing: "probing",
    Announced: "announced",
    InMap: "in map",
    Failing: "failing",
    Out: "out",
    Draining: "draining",
    Drained: "drained",
}
KEPT: dict[type, Kept] = {
    Probing: "joined",
    Announced: "joined",
    InMap: "in",
    Failing: "in",
    Out: "out",
    Draining: "draining",
    Drained: "drained",
}


def kept(state: State) -> Kept:
    """What a restart has to know of it."""
    match state:
        case Draining(own=True):
            return "leaving"
        case Drained(own=True):
            return "left"
    return KEPT[type(state)]


# --- actions -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Probe:
    """Look at this relay; tell the result by `probed`."""

    relay: int


@dataclass(frozen=True, slots=True)
class Moved:
    """The relay is in another state now, or the reason for its state is another."""

    relay: int
    state: State
    why: str = ""


@dataclass(frozen=True, slots=True)
class Suspicion:
    """Whether this server's own network is suspected, from now on."""

    holds: bool
    why: str = ""


Action = Probe | Moved | Suspicion
