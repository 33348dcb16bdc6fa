"""Choosing the home region (tailscale: net/netcheck/netcheck.go addReportHistoryAndSetPreferredDERP).

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from ginnel.words import RegionId

KEEP_IF_WITHIN = 0.010  # seconds by which another region must be faster, and
KEEP_IF_ABOVE = 2 / 3  # the part of home's latency it must stay below, for a change to pay
NO_REGION = RegionId(0)


def choose_home(
    now_measured: Mapping[RegionId, float],
    history: Iterable[Mapping[RegionId, float]],
    home: RegionId,
    *,
    scores: Mapping[int, float] | None = None,
    avoid: Collection[RegionId] = (),
    home_alive: bool = False,
) -> RegionId:
    """The region answering now whose best latency of the last minutes is the lowest, if it beats home clearly.

    `history`: region latencies in seconds of the reports kept, this one included. `home_alive`: its relay connection
    stands, though it may not have answered now. `avoid`: may stay home, may not become it."""
    best: dict[RegionId, float] = {}
    for latencies in history:
        for region, latency in latencies.items():
            scaled = latency * _score(scores, region)
            best[region] = min(best.get(region, scaled), scaled)
    answering = [region for region in now_measured if region in best and (region not in avoid or region == home)]
    if not answering:
        return home
    fastest = min(answering, key=lambda region: (best[region], region))
    if home in (fastest, NO_REGION):
        return fastest
    old = best.get(home) if home in now_measured or home_alive else None
    if home_alive and old is None:
        return home
    if old is not None and (old - best[fastest] < KEEP_IF_WITHIN or best[fastest] > KEEP_IF_ABOVE * old):
        return home
    return fastest


def _score(scores: Mapping[int, float] | None, region: RegionId) -> float:
    score = (scores or {}).get(region, 1.0)
    return score if score > 0 else 1.0
