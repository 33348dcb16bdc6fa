"""Which region is home after a net check: what was measured, unless the node would lose more by a move.

Room: core.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ginnel.core.node.home_region import NO_REGION, choose_home
from ginnel.core.node.netcheck_plan import measured_regions
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.relays import Relays
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import Instant, RegionId

KEEP_ALIVE_KEPT = 120.0
"""Home is kept that long without any measurement since its relay was last connected: Tailscale's."""


def home_after(
    report: Report,
    derp_map: DERPMap,
    relays: Relays,
    history: Sequence[Mapping[RegionId, float]],
    now: Instant,
    *,
    entropy: Callable[[int], bytes],
    control_connected: bool,
) -> RegionId:
    """No change while control does not hear of it, except when there is no home at all."""
    home = relays.home
    regions = measured_regions(derp_map)
    known = {RegionId(region.region_id) for region in regions}
    if home in known and not control_connected:
        return home
    if home in known and not report.region_latency and now - relays.last_up(home, now) < KEEP_ALIVE_KEPT:
        return home
    dead = relays.failing() if len(known) > 1 else frozenset()
    chosen = choose_home(
        {region: seconds for region, seconds in report.region_latency.items() if region in known - dead},
        history,
        home if home in known - dead else NO_REGION,
        scores=derp_map.home_params.region_score if derp_map.home_params is not None else None,
        avoid={RegionId(region.region_id) for region in regions if region.avoid},
        home_alive=relays.up(home),
    )
    if chosen != NO_REGION or not known:
        return chosen
    fallback = sorted(known - dead or known)
    return fallback[entropy(1)[0] % len(fallback)]
