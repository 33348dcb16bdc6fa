"""What a node's NetInfo says about which relays it reaches.

Room: core. Pure. What nodes say is untrusted: bounded, and only members of the right form count.

What absence means (tailscale 1.98, net/netcheck/netcheck.go, wgengine/magicsock/magicsock.go):
- `DERPLatency` has "<region>-v4" and "-v6" for what answered STUN; what HTTPS measured while UDP is blocked is not in
  it. So an empty one says nothing, and one that is there says nothing of TCP.
- Only the first check and one in five minutes ask every region; others ask the three fastest and home
  (`makeProbePlan`, `numIncrementalRegions`). And every check ends soon after three regions have answered: a full one
  after twice the slowest of those (`addNodeLatency`, `enoughRegions`). A region that is missing may just be far.
- Regions that are no homes are not measured, nor those whose relays answer no STUN (`measurable`).
- A client tells NetInfo again only when something else in it changed (`BasicallyEqual` leaves latencies out), while
  each request repeats the last one: the same numbers are the same measurement.

So a region counts as missing only where a check waited for it: fewer than three others answered, or this node, with the
same home, reached it before faster than the slowest that answered now. It has to be missing from several measurements.
Our own nodes try each region that stays silent by HTTPS, and say in `GinnelUnreached` which they cannot reach.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ginnel.wire.tailcfg import DERPMap, Hostinfo, NetInfo, fold_names

MAX_REGIONS = 256  # of one node that are remembered
MAX_MEMBERS = 4 * MAX_REGIONS  # of DERPLatency that are looked at
SLOWEST = 60.0  # seconds; more is nonsense
ENOUGH_REGIONS = 3  # Tailscale's: answers that end a check
ABSENT_FOR = 3  # measurements in a row
_KEY = re.compile(r"([1-9][0-9]{0,4})-v[46]")


@dataclass(frozen=True, slots=True)
class Heard:
    """Seconds by region; what it says that it cannot reach, None: it does not say."""

    latency: Mapping[int, float]
    unreached: frozenset[int] | None = None
    home: int = 0


def heard_of(members: dict[str, Any] | None) -> Heard | None:
    """From a Hostinfo object; None: it has no NetInfo. Never raises."""
    loose = fold_names(Hostinfo, members or {})
    net_info = loose.get("NetInfo") if isinstance(loose, dict) else None
    folded = fold_names(NetInfo, net_info) if isinstance(net_info, dict) else None
    if not isinstance(folded, dict):
        return None
    said = folded.get("GinnelUnreached")
    unreached = None
    if isinstance(said, list):
        unreached = frozenset(r for r in said[:MAX_REGIONS] if type(r) is int and 0 < r <= 0xFFFF)
    home = folded.get("PreferredDERP")
    return Heard(_latencies(folded.get("DERPLatency")), unreached, home if isinstance(home, int) else 0)


def _latencies(said: object) -> dict[int, float]:
    found: dict[int, float] = {}
    if not isinstance(said, dict) or len(said) > MAX_MEMBERS:
        return found
    for key, seconds in said.items():
        named = _KEY.fullmatch(key) if isinstance(key, str) and len(key) < 12 else None
        if named is None or isinstance(seconds, bool) or not isinstance(seconds, int | float):
            continue
        region = int(named[1])
        if region <= 0xFFFF and 0 < seconds <= SLOWEST:
            found[region] = min(seconds, found.get(region, seconds))
    return dict(sorted(found.items())[:MAX_REGIONS])


def measurable(given: DERPMap) -> frozenset[int]:
    """Regions that a client with this map measures by STUN."""
    regions = ((number, region) for number, region in (given.regions or {}).items() if region is not None)
    return frozenset(
        number
        for number, region in regions
        if not region.no_measure_no_home and any(node.stun_port >= 0 for node in region.nodes or ())
    )


@dataclass(slots=True)
class NodeReach:
    """What is known of one node. `lost`: since when it does not reach a region, by its own word or by its reports;
    `best`: the fastest that it reached each."""

    latency: Mapping[int, float] = field(default_factory=dict)
    home: int = 0
    best: dict[int, float] = field(default_factory=dict)
    says: bool = False
    lost: dict[int, float] = field(default_factory=dict)
    absent: dict[int, tuple[int, float]] = field(default_factory=dict)  # region -> (measurements, since)

    def told(self, heard: Heard, regions: frozenset[int], wall: float) -> bool:
        """`regions`: that it is given and may measure. True if it is lost to others than before."""
        before = frozenset(self.lost)
        if heard.home != self.home:  # it may be in another network
            self.home = heard.home
            self.best.clear()
        if heard.unreached is not None:
            self.says = True
            self._is_lost_to(heard.unreached & regions, wall)
        elif not self.says and heard.latency and heard.latency != self.latency:
            self._measured(heard.latency, regions, wall)
        if heard.latency:
            self.latency = heard.latency
            for region, seconds in heard.latency.items():
                if region in self.best or len(self.best) < MAX_REGIONS:
                    self.best[region] = min(seconds, self.best.get(region, seconds))
        return frozenset(self.lost) != before

    def _measured(self, latency: Mapping[int, float], regions: frozenset[int], wall: float) -> None:
        slowest = max(latency.values())
        for region in list(self.absent):
            if region in latency or region not in regions:
                del self.absent[region]
        for region in regions - latency.keys():
            waited = len(latency.keys() & regions) < ENOUGH_REGIONS or self.best.get(region, SLOWEST) < slowest
            if waited and (region in self.absent or len(self.absent) < MAX_REGIONS):
                count, since = self.absent.get(region, (0, wall))
                self.absent[region] = count + 1, since
        missing = {region: since for region, (count, since) in self.absent.items() if count >= ABSENT_FOR}
        self.lost = missing

    def _is_lost_to(self, regions: frozenset[int], wall: float) -> None:
        self.absent.clear()
        self.lost = {region: self.lost.get(region, wall) for region in sorted(regions)}
