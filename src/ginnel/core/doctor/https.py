"""What ails TCP port 443: all of it, the server's, one relay's, or somebody who opens TLS on the way.

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.doctor.causes import Cause, Finding, Fix
from ginnel.core.doctor.evidence import Host, Probe, RelaySeen
from ginnel.core.doctor.network_views import (
    all_fail,
    failure,
    fix_here,
    is_intercepted,
    port80_works,
    probes,
    proxy,
    udp_works,
)
from ginnel.core.firewall.verdict import Blocking

NAMED = 5  # peers in a line


def interception(host: Host) -> Iterable[Finding]:
    odd = [probe for probe in probes(host) if is_intercepted(probe)]
    if not odd:
        return
    issuers = sorted({probe.issuer for probe in odd if probe.issuer})
    lines = [failure(probe) for probe in odd[:3]]
    if host.control is not None and host.control not in odd and not host.control.works:
        lines.append(failure(host.control))
    if issuers:
        lines.append(f"who stands between calls itself {', '.join(issuers[:3])}")
    several = len(odd) > 1 or not any(probe.works for probe in probes(host))
    unknown = host.control_trusted is False and "self-signed" in odd[0].detail
    if unknown and all(probe is host.control for probe in odd):
        yield Finding(
            Cause.TLS_INTERCEPTION,
            0.2,
            tuple(lines),
            fix_here(
                host, "sudo ginnel up", "with --invite and an invite of that server, which vouches for its certificate"
            ),
        )
        return
    also = "in the firewall or proxy: no TLS inspection for the hosts of `ginnel firewall allowlist`"
    fix = fix_here(host, "ginnel firewall allowlist", also)
    yield Finding(Cause.TLS_INTERCEPTION, 0.95 if several else 0.85, tuple(lines), fix)


def https(host: Host) -> Iterable[Finding]:
    """Everything on 443 fails, and something else shows that the network is there."""
    if not all_fail(host) or host.way_out is False:
        return
    if any(is_intercepted(probe) or probe.blocking.startswith("dns") for probe in probes(host)):
        return
    other = [
        *(["UDP gets through"] if udp_works(host) else []),
        *(["TCP port 80 gets through"] if port80_works(host) else []),
        *(["the router answers"] if host.gateway_answers else []),
    ]
    lines = [*(failure(probe) for probe in probes(host)[:3]), *other, *proxy(host)]
    confidence = 0.93 if len(other) > 1 or udp_works(host) or port80_works(host) else 0.5
    if all(probe.blocking == "refused" for probe in probes(host)) and len({p.place for p in probes(host)}) == 1:
        confidence = 0.4  # a server that is down refuses too
    also = "in the firewall: let TCP out to port 443 of anywhere"
    yield Finding(Cause.HTTPS_BLOCKED, confidence, tuple(lines), fix_here(host, "ginnel firewall plan", also))


def _believes(host: Host) -> bool:
    """Our own daemon calls itself connected to a server that says nothing: others that say so prove as little."""
    return host.network is not None and host.network.control is True


def control(host: Host) -> Iterable[Finding]:
    probe = host.control
    if probe is None or probe.works or is_intercepted(probe) or probe.blocking.startswith("dns"):
        return
    others = any(relay.https is not None and relay.https.works for relay in host.relays)
    lines = [failure(probe)]
    if host.daemon is not None and host.daemon.control_problem:
        lines.append(f"ginneld: {host.daemon.control_problem}")
    if others:
        lines.append("relays are reached on the same port")
    alive = any(witness.control for witness in host.witnesses) and not _believes(host)
    lines += ["another machine of the mesh is connected to it"] if alive else []
    hangs = probe.blocking == str(Blocking.TIMEOUT_AFTER_CONNECT)
    lines += ["its machine accepts connections, and nothing is said on them: a program that hangs"] if hangs else []
    down, blocked = (0.7, 0.4) if probe.blocking == "refused" or hangs else (0.3, 0.85 if others else 0.5)
    down, blocked = (0.15, 0.95) if alive else (down, blocked)
    at_server = Fix("the server", "sudo systemctl status ginnel-server", "if nobody reaches it, it is down")
    yield Finding(Cause.CONTROL_DOWN, down, tuple(lines), at_server)
    fix = fix_here(host, "ginnel firewall plan", f"in the firewall: let TCP out to {probe.place}")
    yield Finding(Cause.CONTROL_BLOCKED, blocked, tuple(lines), fix)


def relays(host: Host) -> Iterable[Finding]:
    for relay in host.relays:
        probe = relay.https
        if probe is not None and not probe.works and not is_intercepted(probe):
            yield from _relay(host, relay, probe)


def _relay(host: Host, relay: RelaySeen, probe: Probe) -> Iterable[Finding]:
    """A host that answers otherwise is there, so something stands before its port 443; one that refuses is there, and
    its relay is not."""
    lines = [f"{relay.name} cannot be reached: {failure(probe)}"]
    lines += ["it answers by UDP, so the machine is there"] if relay.stun else []
    if homed := host.homed_in(relay.region):
        more = f" and {len(homed) - NAMED} more" if len(homed) > NAMED else ""
        lines.append(f"unreachable by relay: {', '.join(homed[:NAMED])}{more}, whose home it is")
    blocked, down, why = _blocked_or_down(host, relay, probe)
    lines += [why] if why else []
    also = f"in the firewall: let TCP out to port 443 of anywhere, or at least to {probe.place}"
    yield Finding(
        Cause.RELAY_BLOCKED, blocked, tuple(lines), fix_here(host, "ginnel firewall verify", also), about=relay.name
    )
    fix = Fix("the server", "ginnel relay list", f"if nobody reaches {relay.name}, it is down")
    yield Finding(Cause.RELAY_DOWN, down, tuple(lines), fix, about=relay.name)


def _blocked_or_down(host: Host, relay: RelaySeen, probe: Probe) -> tuple[float, float, str]:
    """How likely each is, and what tells."""
    told = [one for witness in host.witnesses for one in witness.relays if one.region == relay.region]
    if any(one.connected for one in told):
        return 0.95, 0.15, "another machine of the mesh is connected to it"
    if any(one.latency is not None and not one.problem for one in told):
        return 0.95, 0.15, "another machine of the mesh reaches it"
    if relay.stun:
        return 0.9, 0.2, ""
    if any(one.problem for one in told):
        return 0.3, 0.92, "another machine of the mesh does not reach it either"
    if host.homed_in(relay.region):
        return 0.85, 0.3, "peers are at home there, so they reach it"
    return (0.4, 0.7, "") if probe.blocking == "refused" else (0.5, 0.6, "")
