"""What control is told of our network, and whether that is news (tailscale: wgengine/magicsock, tailcfg.NetInfo).

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from ginnel.core.node.actions import ReportToControl
from ginnel.core.node.netcheck_report import Report, net_latencies
from ginnel.wire.tailcfg import NetInfo
from ginnel.words import RegionId


def net_info(
    report: Report,
    home: RegionId,
    before: NetInfo | None,
    *,
    varies: bool | None,
    port_mapped: bool,
    unreached: Collection[RegionId] = (),
) -> NetInfo:
    """`before`: what was told last. A short check while UDP is silent measured nothing, so it has no say in what only
    the long one looks at. `varies`: what is known of the NAT, also from earlier checks."""
    if not report.udp and not report.region_latency and before is not None:
        ipv6, icmpv4 = before.working_ipv6, before.working_icmpv4
    else:
        ipv6, icmpv4 = report.ipv6, report.icmpv4
    return NetInfo(
        mapping_varies_by_dest_ip=varies,
        working_ipv6=ipv6,
        os_has_ipv6=report.os_has_ipv6,
        working_udp=report.udp,
        working_icmpv4=icmpv4,
        have_port_map=port_mapped,
        upnp=report.upnp,
        pmp=report.pmp,
        pcp=report.pcp,
        preferred_derp=home,
        derp_latency=dict(net_latencies(report)),
        ginnel_unreached=sorted(unreached),
    )


def same(before: ReportToControl, after: ReportToControl) -> bool:
    """Latencies alone, or another order of the endpoints, are no news."""
    silent = {"derp_latency": None}
    return set(zip(before.endpoints, before.types, strict=True)) == set(
        zip(after.endpoints, after.types, strict=True)
    ) and msgspec.structs.replace(before.net_info, **silent) == msgspec.structs.replace(after.net_info, **silent)
