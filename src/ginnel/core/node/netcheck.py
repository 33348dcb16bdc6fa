"""Finding out what network we are in (tailscale: net/netcheck). See `Report`.

Room: core.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ginnel.words import Endpoint, RegionId


@dataclass(frozen=True, slots=True)
class Report:
    """What one net check found. Latencies in seconds; None: not known.

    `counters_v4`, `counters_v6`: how many answers named each of our addresses.
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
    preferred_derp: RegionId = RegionId(0)
    region_latency: dict[RegionId, float] = field(default_factory=dict)
    region_v4_latency: dict[RegionId, float] = field(default_factory=dict)
    region_v6_latency: dict[RegionId, float] = field(default_factory=dict)
    global_v4: Endpoint | None = None
    global_v6: Endpoint | None = None
    counters_v4: dict[Endpoint, int] = field(default_factory=dict)
    counters_v6: dict[Endpoint, int] = field(default_factory=dict)
    captive_portal: bool | None = None
