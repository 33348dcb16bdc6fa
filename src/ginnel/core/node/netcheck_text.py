"""A net check's report as people and programs read it (tailscale: cmd/tailscale/cli/netcheck.go).

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from ginnel.core.node.netcheck_report import Report
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import Endpoint, RegionId

NANOSECONDS = 1_000_000_000
EASY_NAT = "easy NAT (one port for all destinations: direct paths need no open port)"
HARD_NAT = "hard NAT (another port for each destination: open one UDP port, or one side's must be easy)"

NAT_UNKNOWN = (
    "not known: one STUN address cannot tell easy from hard; "
    "add a relay to the DERP map, or the server's second_addresses"
)
PORT80_FILTERED = "unavailable: no relay could be asked on TCP port 80"


def nat_word(report: Report) -> str:
    """One line on what the NAT means for direct paths; "" while that is unknown."""
    if not report.udp:
        return "UDP is blocked: all traffic goes by relays, over TCP 443"
    if report.mapping_varies_by_dest_ip is None:
        return NAT_UNKNOWN if report.ipv4 else ""
    return HARD_NAT if report.mapping_varies_by_dest_ip else EASY_NAT


def report_text(report: Report, derp_map: DERPMap, when: datetime, *, verbose: bool = False) -> str:
    """The text of `netcheck`; the line on the NAT's kind is ours. `when` carries its zone."""
    lines = [
        "",
        "Report:",
        f"\t* Time: {_go_time(when)}",
        f"\t* UDP: {_boolean(report.udp)}",
        f"\t* IPv4: {_address(report.global_v4)}",
        f"\t* IPv6: {_ipv6(report)}",
        f"\t* MappingVariesByDestIP: {_boolean(report.mapping_varies_by_dest_ip)}",
        *([f"\t* NAT: {word}"] if (word := nat_word(report)) else []),
        f"\t* PortMapping: {_port_mapping(report)}",
        *([f"\t* CaptivePortal: {_boolean(report.captive_portal)}"] if report.captive_portal is not None else []),
        *([f"\t* Captive portal detection: {PORT80_FILTERED}"] if report.captive_filtered else []),
        f"\t* Nearest DERP: {_nearest(report, derp_map)}",
        *(_latency_lines(report, derp_map, verbose=verbose) if report.region_latency else []),
    ]
    return "\n".join(lines) + "\n"


def report_json(report: Report, when: datetime) -> dict[str, object]:
    """The members of `netcheck --format=json`, in Go's names and nanoseconds."""
    return {
        "Now": _go_time(when),
        "UDP": report.udp,
        "IPv6": report.ipv6,
        "IPv4": report.ipv4,
        "IPv6CanSend": report.ipv6_can_send,
        "IPv4CanSend": report.ipv4_can_send,
        "OSHasIPv6": report.os_has_ipv6,
        "ICMPv4": report.icmpv4,
        "MappingVariesByDestIP": report.mapping_varies_by_dest_ip,
        "UPnP": report.upnp,
        "PMP": report.pmp,
        "PCP": report.pcp,
        "PreferredDERP": report.preferred_derp,
        "RegionLatency": _nanoseconds(report.region_latency),
        "RegionV4Latency": _nanoseconds(report.region_v4_latency),
        "RegionV6Latency": _nanoseconds(report.region_v6_latency),
        "GlobalV4Counters": _counters(report.counters_v4),
        "GlobalV6Counters": _counters(report.counters_v6),
        "GlobalV4": str(report.global_v4 or ""),
        "GlobalV6": str(report.global_v6 or ""),
        "CaptivePortal": report.captive_portal,
    }


def report_line(report: Report) -> str:
    """The line for logs (tailscale: net/netcheck/netcheck.go logConciseReport)."""
    words = [f"udp={_boolean(report.udp)}"]
    words += [] if report.ipv4 else ["v4=false"]
    words += [] if report.udp else [f"icmpv4={_boolean(report.icmpv4)}"]
    words += [f"v6={_boolean(report.ipv6)}"]
    words += [] if report.ipv6 else [f"v6os={_boolean(report.os_has_ipv6)}"]
    words += [f"mapvarydest={_boolean(report.mapping_varies_by_dest_ip)}", f"portmap={_portmap(report)}"]
    words += [f"v4a={report.global_v4}"] if report.global_v4 is not None else []
    words += [f"v6a={report.global_v6}"] if report.global_v6 is not None else []
    words += [f"captiveportal={_boolean(report.captive_portal)}"] if report.captive_portal is not None else []
    words += [f"derp={report.preferred_derp}"]
    if report.preferred_derp:
        words.append("derpdist=" + ",".join(_distances(report)))
    return "report: " + " ".join(words)


def _portmap(report: Report) -> str:
    """A letter for each kind that works, `_` before one that was not looked for."""
    kinds = (("U", report.upnp), ("M", report.pmp), ("C", report.pcp))
    if all(works is None for _, works in kinds):
        return "?"
    return "".join(letter if works else "_" if works is None else "" for letter, works in kinds)


def _distances(report: Report) -> list[str]:
    pairs = (("v4", report.region_v4_latency), ("v6", report.region_v6_latency))
    return [
        f"{region}{family}:{go_duration(round(known[region], 3))}"
        for region in sorted(report.region_latency)
        for family, known in pairs
        if region in known
    ]


def _boolean(value: bool | None) -> str:
    return "" if value is None else str(value).lower()


def _go_time(when: datetime) -> str:
    """RFC 3339 in UTC, without zeros at the end."""
    when = when.astimezone(UTC)
    fraction = f".{when.microsecond:06d}".rstrip("0") if when.microsecond else ""
    return f"{when:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def _address(seen: Endpoint | None) -> str:
    return f"yes, {seen}" if seen is not None else "(no addr found)"


def _ipv6(report: Report) -> str:
    if report.ipv6 or report.global_v6 is not None:
        return _address(report.global_v6)
    return "no, but OS has support" if report.os_has_ipv6 else "no, unavailable in OS"


def _port_mapping(report: Report) -> str:
    found = (("UPnP", report.upnp), ("NAT-PMP", report.pmp), ("PCP", report.pcp))
    if all(works is None for _, works in found):
        return "not checked"
    return ", ".join(name for name, works in found if works)


def _nearest(report: Report, derp_map: DERPMap) -> str:
    if not report.region_latency:
        return "unknown (no response to latency probes)"
    if not report.preferred_derp:
        return "[none]"
    region = (derp_map.regions or {}).get(report.preferred_derp)
    return region.region_name if region is not None else f"{report.preferred_derp} (region not found in map)"


def _latency_lines(report: Report, derp_map: DERPMap, *, verbose: bool) -> list[str]:
    regions = {RegionId(number): region for number, region in (derp_map.regions or {}).items() if region is not None}
    order = sorted(regions, key=lambda number: (report.region_latency.get(number, float("inf")), number))
    lines = ["\t* DERP latency:"]
    for number in order:
        region = regions[number]
        seconds = report.region_latency.get(number)
        shown = "" if seconds is None else go_duration(round(seconds, 4))
        name = f"derp{number}, {region.region_name}" if verbose else region.region_name
        lines.append(f"\t\t- {region.region_code:>3}: {shown:<7} ({name})")
    return lines


def go_duration(seconds: float) -> str:
    """A latency as Go prints durations: `12.3ms`, `900µs`, `1.5s`."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size:
            return f"{seconds / size:.4f}".rstrip("0").rstrip(".") + unit
    return "0s"


def _nanoseconds(latencies: Mapping[RegionId, float]) -> dict[str, int]:
    return {str(region): round(seconds * NANOSECONDS) for region, seconds in sorted(latencies.items())}


def _counters(counters: Mapping[Endpoint, int]) -> dict[str, int] | None:
    return {str(endpoint): times for endpoint, times in counters.items()} or None
