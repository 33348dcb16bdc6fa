"""What ails the network that one machine is in: the line, names, portals, UDP; https.py has TCP port 443.

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ginnel.core.doctor.causes import EXPLAINED, Cause, Finding, Fix
from ginnel.core.doctor.evidence import Host, Port80, RelaySeen
from ginnel.core.doctor.https import control, https, interception, relays
from ginnel.core.doctor.network_views import (
    all_fail,
    failure,
    fix_here,
    port80_works,
    probes,
    proxy,
    rule,
    stun_here,
    udp_works,
)
from ginnel.core.doctor.own_firewall import THEREFORE, keeps_in, own_firewall

SILENT = ("silent-drop", "unreachable", "timeout")
ROUTER = {True: "the router answers: what is behind it is out of reach", False: "the router itself does not answer"}
NAMED = 5  # peers in a line


def network_findings(host: Host) -> list[Finding]:
    rules: tuple[Callable[[Host], Iterable[Finding]], ...] = (
        _internet,
        _names,
        _portal,
        interception,
        https,
        control,
        relays,
        _udp,
        _some_stun,
        _port80,
        _ipv6,
    )
    found = [finding for rule in rules for finding in rule(host)]
    mine = list(own_firewall(host))
    return [*mine, *(_therefore(one) for one in found)] if keeps_in(host) else [*mine, *found]


def _therefore(one: Finding) -> Finding:
    """It would look so whatever the network were like."""
    return replace(one, confidence=one.confidence * EXPLAINED) if one.cause in THEREFORE else one


# --- the internet ----------------------------------------------------------------------------------------------------


def _internet(host: Host) -> Iterable[Finding]:
    if host.way_out is False:
        nowhere = "this machine has no default route: it is connected to no network, or to one that leads nowhere"
        yield Finding(Cause.NO_INTERNET, 0.97, (nowhere,), fix_here(host, "ip route", "connect it to a network"))
        return
    if host.relays and not probes(host) and not host.unlooked and not udp_works(host) and not port80_works(host):
        nowhere = "this machine has no route to the server or to any relay: nothing could even be tried"
        yield Finding(Cause.NO_INTERNET, 0.95, (nowhere,), fix_here(host, "ip route", "connect it to a network"))
        return
    if not all_fail(host) or udp_works(host) or port80_works(host):
        return
    if not all(probe.blocking in SILENT or probe.blocking.startswith("dns") for probe in probes(host)):
        return
    lines = ["neither TCP 443 nor UDP nor TCP 80 reaches anybody", *proxy(host)]
    if host.gateway_answers is not None:
        lines.append(ROUTER[host.gateway_answers])
    several = len({probe.place for probe in probes(host)}) > 1
    confidence = 0.9 if host.gateway_answers is False else 0.7 if several else 0.5
    yield Finding(
        Cause.NO_INTERNET,
        confidence,
        tuple(lines),
        fix_here(host, "ip route", "look at the router: is it connected to the internet?"),
    )


def _portal(host: Host) -> Iterable[Finding]:
    told = host.network is not None and host.network.portal is True
    if host.port80 is Port80.TRUE and not told:
        return
    working = [probe.works for probe in probes(host)]
    if any(working) and (not told or all(working)):
        yield from _port80_changed(host)
        return
    odd = host.port80 is Port80.FORGED or told
    stripped = host.port80 is Port80.STRIPPED and all_fail(host)
    if odd or stripped:
        lines = ["somebody else answers for the relays on TCP port 80, as portals of hotels and trains do"]
        lines += [failure(probe) for probe in probes(host) if not probe.works][:2]
        confidence = 0.97 if all_fail(host) or told else 0.85
        also = "open any web page in a browser and sign in there"
        yield Finding(Cause.CAPTIVE_PORTAL, confidence, tuple(lines), fix_here(host, "", also))


def _port80_changed(host: Host) -> Iterable[Finding]:
    """No portal: those keep everything back until somebody signs in, and TCP 443 passes."""
    if host.port80 is Port80.FORGED:
        lines = (
            "somebody else answers for the relays on TCP port 80: a proxy, or a firewall's page",
            "captive portals go unnoticed; nothing else needs that port",
        )
        yield Finding(Cause.PORT80_BLOCKED, 0.9, lines, rule(host, "TCP out to port 80 of anywhere, if you like"))


# --- names -----------------------------------------------------------------------------------------------------------


def _names(host: Host) -> Iterable[Finding]:
    broken = [name for name in host.names if name.problem and name.needed]
    if broken:
        lines = tuple(f"the name {name.name} cannot be resolved: {name.problem}" for name in broken[:3])
        confidence = 0.95 if len(broken) == len([n for n in host.names if n.needed]) else 0.75
        lines += (_asked(host),)
        fix = _resolver_fix(host, "the resolver named there must answer; or name another one")
        yield Finding(Cause.DNS_BROKEN, confidence, lines, fix)
    lying = [name for name in host.names if name.lied]
    if lying:
        lines = tuple(
            f"DNS says that {n.name} is {', '.join(n.found[:3])}; "
            + (f"the map says {', '.join(n.known[:3])}" if n.known else "nobody is there")
            for n in lying[:3]
        )
        lines += (_asked(host),)
        fix = _resolver_fix(host, "use another resolver: this one gives false addresses")
        yield Finding(Cause.DNS_LIES, 0.95, lines, fix)


def _asked(host: Host) -> str:
    named = [f"{ip} (the router)" if ip in host.gateways else ip for ip in host.resolvers]
    return (
        f"asked by this machine: {', '.join(named)}" if named else "this machine names no resolver (/etc/resolv.conf)"
    )


def _resolver_fix(host: Host, also: str) -> Fix:
    return fix_here(host, "resolvectl status" if host.resolved else "cat /etc/resolv.conf", also)


# --- UDP -------------------------------------------------------------------------------------------------------------


def _udp(host: Host) -> Iterable[Finding]:
    """STUN from the tunnel's own port is the daemon's; from any port is this command's."""
    if host.way_out is False or (all_fail(host) and not udp_works(host) and not port80_works(host)):
        return
    tunnel = host.network.udp if host.network is not None else None
    here = stun_here(host)
    if tunnel is True or (tunnel is None and here is not False):
        return
    if tunnel is False and here:
        yield _own_port(host)
    elif host.udp_elsewhere is True or (host.network is not None and host.network.others_direct > 0):
        silent = ("no STUN server answers on UDP port 3478", "UDP to other ports gets through")
        yield Finding(Cause.STUN_BLOCKED, 0.93, silent, rule(host, "UDP out to port 3478 of anywhere"))
    else:
        gone = "no STUN server answers: UDP does not get out of this network"
        lines = (gone, "all traffic goes by relays, over TCP 443")
        yield Finding(Cause.UDP_BLOCKED, 0.92, lines, rule(host, "UDP out, and the answers in"))
        yield Finding(Cause.STUN_BLOCKED, 0.9, (gone,), rule(host, "UDP out to port 3478 of anywhere"))


def _own_port(host: Host) -> Finding:
    port = host.network.port if host.network is not None else 0
    lines = (
        f"STUN servers answer other ports of this machine, and not {port}, which the tunnel uses",
        f"a firewall stops UDP with source port {port}",
    )
    return Finding(Cause.TUNNEL_PORT_BLOCKED, 0.93, lines, rule(host, f"UDP out from port {port} to anywhere"))


def _is_gone(relay: RelaySeen) -> bool:
    """Told by its port 443 already."""
    return relay.https is not None and not relay.https.works


def _some_stun(host: Host) -> Iterable[Finding]:
    """Of several, some are silent: a machine whose nearest relay that is finds its own address by another."""
    silent = [relay.name for relay in host.relays if relay.stun is False and not _is_gone(relay)]
    if silent and stun_here(host):
        lines = (f"no answer on UDP port 3478 of {', '.join(silent[:NAMED])}; other relays answer",)
        fix = fix_here(host, "ginnel firewall verify", "in the firewall: let UDP out to port 3478 of anywhere")
        yield Finding(Cause.STUN_BLOCKED, 0.5, lines, fix, about=silent[0], harmless=True)


# --- notes -----------------------------------------------------------------------------------------------------------


def _port80(host: Host) -> Iterable[Finding]:
    if host.port80 is Port80.SILENT:
        lines = ("captive portal detection unavailable (tcp/80 filtered)", "nothing else needs that port")
        yield Finding(Cause.PORT80_BLOCKED, 0.9, lines, rule(host, "TCP out to port 80 of anywhere, if you like"))


def _ipv6(host: Host) -> Iterable[Finding]:
    known = host.network
    if host.global_v6 and known is not None and known.udp and known.ipv4 and not known.ipv6:
        lines = ("this machine has a global IPv6 address, and no relay answers there",)
        yield Finding(Cause.NO_IPV6, 0.6, lines, fix_here(host, "ip -6 route"))
