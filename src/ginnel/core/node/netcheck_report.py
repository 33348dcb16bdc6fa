"""What a net check found out (tailscale: net/netcheck/netcheck.go Report).

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ginnel.core.node.home_region import NO_REGION
from ginnel.words import Endpoint, RegionId


@dataclass(frozen=True, slots=True)
class Report:
    """What one net check found. Latencies in seconds; None: not known.

    `counters_v4`, `counters_v6`: how many answers named each of our addresses. `captive_filtered`: relays were asked
    on TCP port 80, and none answered.
    """

    udp: bool = False
    ipv4: bool = False
    ipv6: bool = False
    ipv4_can_send: bool = False
    ipv6_can_send: bool = False
    os_has_ipv6: bool = False
    icmpv4: bool = False
    mapping_varies_by_dest_ip: bool | None = None
    upnp: bool | None = None
    pmp: bool | None = None
    pcp: bool | None = None
    preferred_derp: RegionId = NO_REGION
    region_latency: dict[RegionId, float] = field(default_factory=dict)
    region_v4_latency: dict[RegionId, float] = field(default_factory=dict)
    region_v6_latency: dict[RegionId, float] = field(default_factory=dict)
    global_v4: Endpoint | None = None
    global_v6: Endpoint | None = None
    counters_v4: dict[Endpoint, int] = field(default_factory=dict)
    counters_v6: dict[Endpoint, int] = field(default_factory=dict)
    captive_portal: bool | None = None
    captive_filtered: bool = False


def net_latencies(report: Report) -> Mapping[str, float]:
    """`NetInfo.derp_latency`: "<region>-v4" -> seconds."""
    named = {f"{region}-v4": seconds for region, seconds in sorted(report.region_v4_latency.items())}
    return named | {f"{region}-v6": seconds for region, seconds in sorted(report.region_v6_latency.items())}
