"""What ails the network that one machine is in: names, portals, TCP 443, relays, UDP.

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ginnel.core.doctor.causes import EXPLAINED, Cause, Finding, Fix
from ginnel.core.doctor.evidence import Host, Port80, Probe, RelaySeen
from ginnel.core.doctor.own_firewall import THEREFORE, keeps_in, own_firewall
from ginnel.core.firewall.verdict import Blocking

SILENT = ("silent-drop", "unreachable", "timeout")
INTERCEPTED = ("tls-interception", "wrong-certificate")
ROUTER = {True: "the router answers: what is behind it is out of reach", False: "the router itself does not answer"}
NAMED = 5  # peers in a line


def network_findings(host: Host) -> list[Finding]:
    rules: tuple[Callable[[Host], Iterable[Finding]], ...] = (
        _internet,
        _names,
        _portal,
        _interception,
        _https,
        _control,
        _relays,
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


def _fix(host: Host, command: str, also: str = "") -> Fix:
    return Fix(host.name, command, also)


# --- views -----------------------------------------------------------------------------------------------------------


def _probes(host: Host) -> list[Probe]:
    """Each place once: a relay may stand on the server's own port."""
    every = [host.control, *(relay.https for relay in host.relays)]
    return list({probe.place: probe for probe in reversed(every) if probe is not None}.values())[::-1]


def _udp_works(host: Host) -> bool:
    known = host.network
    by_daemon = known is not None and (bool(known.udp) or known.others_direct > 0)
    return by_daemon or any(relay.stun for relay in host.relays) or host.udp_elsewhere is True


def _stun_here(host: Host) -> bool | None:
    """Whether a socket of this command, with any port, got a STUN answer."""
    asked = [relay.stun for relay in host.relays if relay.stun is not None]
    return any(asked) if asked else None


def _port80_works(host: Host) -> bool:
    return host.port80 in (Port80.TRUE, Port80.FORGED, Port80.STRIPPED)


def _all_fail(host: Host) -> bool:
    probes = _probes(host)
    return bool(probes) and not any(probe.works for probe in probes)


def is_cut_off(host: Host) -> bool:
    """Neither the server nor any relay can be used: tunnels that stand go on, and nothing new begins."""
    return host.control is not None and _all_fail(host)


def _is_intercepted(probe: Probe) -> bool:
    """Somebody else speaks TLS there; a page that comes through such a connection is theirs too."""
    return probe.blocking in INTERCEPTED or (probe.blocking == "block-page" and bool(probe.issuer))


def _failure(probe: Probe) -> str:
    return f"{probe.place}: {probe.blocking}" + (f" ({probe.detail})" if probe.detail else "")


def _proxy(host: Host) -> list[str]:
    return (
        [f"a proxy is named here ({host.proxy}), and ginnel uses none: it must get out by itself"] if host.proxy else []
    )


# --- the internet ----------------------------------------------------------------------------------------------------


def _internet(host: Host) -> Iterable[Finding]:
    if host.way_out is False:
        nowhere = "this machine has no default route: it is connected to no network, or to one that leads nowhere"
        yield Finding(Cause.NO_INTERNET, 0.97, (nowhere,), _fix(host, "ip route", "connect it to a network"))
        return
    if host.relays and not _probes(host) and not host.unlooked and not _udp_works(host) and not _port80_works(host):
        nowhere = "this machine has no route to the server or to any relay: nothing could even be tried"
        yield Finding(Cause.NO_INTERNET, 0.95, (nowhere,), _fix(host, "ip route", "connect it to a network"))
        return
    if not _all_fail(host) or _udp_works(host) or _port80_works(host):
        return
    if not all(probe.blocking in SILENT or probe.blocking.startswith("dns") for probe in _probes(host)):
        return
    lines = ["neither TCP 443 nor UDP nor TCP 80 reaches anybody", *_proxy(host)]
    if host.gateway_answers is not None:
        lines.append(ROUTER[host.gateway_answers])
    several = len({probe.place for probe in _probes(host)}) > 1
    confidence = 0.9 if host.gateway_answers is False else 0.7 if several else 0.5
    yield Finding(
        Cause.NO_INTERNET,
        confidence,
        tuple(lines),
        _fix(host, "ip route", "look at the router: is it connected to the internet?"),
    )


def _portal(host: Host) -> Iterable[Finding]:
    told = host.network is not None and host.network.portal is True
    if host.port80 is Port80.TRUE and not told:
        return
    working = [probe.works for probe in _probes(host)]
    if any(working) and (not told or all(working)):
        yield from _port80_changed(host)
        return
    odd = host.port80 is Port80.FORGED or told
    stripped = host.port80 is Port80.STRIPPED and _all_fail(host)
    if odd or stripped:
        lines = ["somebody else answers for the relays on TCP port 80, as portals of hotels and trains do"]
        lines += [_failure(probe) for probe in _probes(host) if not probe.works][:2]
        confidence = 0.97 if _all_fail(host) or told else 0.85
        also = "open any web page in a browser and sign in there"
        yield Finding(Cause.CAPTIVE_PORTAL, confidence, tuple(lines), _fix(host, "", also))


def _port80_changed(host: Host) -> Iterable[Finding]:
    """No portal: those keep everything back until somebody signs in, and TCP 443 passes."""
    if host.port80 is Port80.FORGED:
        lines = (
            "somebody else answers for the relays on TCP port 80: a proxy, or a firewall's page",
            "captive portals go unnoticed; nothing else needs that port",
        )
        yield Finding(Cause.PORT80_BLOCKED, 0.9, lines, _rule(host, "TCP out to port 80 of anywhere, if you like"))


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
    return _fix(host, "resolvectl status" if host.resolved else "cat /etc/resolv.conf", also)


# --- TCP 443 ---------------------------------------------------------------------------------------------------------


def _interception(host: Host) -> Iterable[Finding]:
    odd = [probe for probe in _probes(host) if _is_intercepted(probe)]
    if not odd:
        return
    issuers = sorted({probe.issuer for probe in odd if probe.issuer})
    lines = [_failure(probe) for probe in odd[:3]]
    if host.control is not None and host.control not in odd and not host.control.works:
        lines.append(_failure(host.control))
    if issuers:
        lines.append(f"who stands between calls itself {', '.join(issuers[:3])}")
    several = len(odd) > 1 or not any(probe.works for probe in _probes(host))
    unknown = host.control_trusted is False and "self-signed" in odd[0].detail
    if unknown and all(probe is host.control for probe in odd):
        yield Finding(
            Cause.TLS_INTERCEPTION,
            0.2,
            tuple(lines),
            _fix(
                host, "sudo ginnel up", "with --invite and an invite of that server, which vouches for its certificate"
            ),
        )
        return
    also = "in the firewall or proxy: no TLS inspection for the hosts of `ginnel firewall allowlist`"
    fix = _fix(host, "ginnel firewall allowlist", also)
    yield Finding(Cause.TLS_INTERCEPTION, 0.95 if several else 0.85, tuple(lines), fix)


def _https(host: Host) -> Iterable[Finding]:
    """Everything on 443 fails, and something else shows that the network is there."""
    if not _all_fail(host) or host.way_out is False:
        return
    if any(_is_intercepted(probe) or probe.blocking.startswith("dns") for probe in _probes(host)):
        return
    other = [
        *(["UDP gets through"] if _udp_works(host) else []),
        *(["TCP port 80 gets through"] if _port80_works(host) else []),
        *(["the router answers"] if host.gateway_answers else []),
    ]
    lines = [*(_failure(probe) for probe in _probes(host)[:3]), *other, *_proxy(host)]
    confidence = 0.93 if len(other) > 1 or _udp_works(host) or _port80_works(host) else 0.5
    if all(probe.blocking == "refused" for probe in _probes(host)) and len({p.place for p in _probes(host)}) == 1:
        confidence = 0.4  # a server that is down refuses too
    also = "in the firewall: let TCP out to port 443 of anywhere"
    yield Finding(Cause.HTTPS_BLOCKED, confidence, tuple(lines), _fix(host, "ginnel firewall plan", also))


def _believes(host: Host) -> bool:
    """Our own daemon calls itself connected to a server that says nothing: others that say so prove as little."""
    return host.network is not None and host.network.control is True


def _control(host: Host) -> Iterable[Finding]:
    probe = host.control
    if probe is None or probe.works or _is_intercepted(probe) or probe.blocking.startswith("dns"):
        return
    others = any(relay.https is not None and relay.https.works for relay in host.relays)
    lines = [_failure(probe)]
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
    fix = _fix(host, "ginnel firewall plan", f"in the firewall: let TCP out to {probe.place}")
    yield Finding(Cause.CONTROL_BLOCKED, blocked, tuple(lines), fix)


def _relays(host: Host) -> Iterable[Finding]:
    for relay in host.relays:
        probe = relay.https
        if probe is not None and not probe.works and not _is_intercepted(probe):
            yield from _relay(host, relay, probe)


def _relay(host: Host, relay: RelaySeen, probe: Probe) -> Iterable[Finding]:
    """A host that answers otherwise is there, so something stands before its port 443; one that refuses is there, and
    its relay is not."""
    lines = [f"{relay.name} cannot be reached: {_failure(probe)}"]
    lines += ["it answers by UDP, so the machine is there"] if relay.stun else []
    if homed := host.homed_in(relay.region):
        more = f" and {len(homed) - NAMED} more" if len(homed) > NAMED else ""
        lines.append(f"unreachable by relay: {', '.join(homed[:NAMED])}{more}, whose home it is")
    blocked, down, why = _blocked_or_down(host, relay, probe)
    lines += [why] if why else []
    also = f"in the firewall: let TCP out to port 443 of anywhere, or at least to {probe.place}"
    yield Finding(
        Cause.RELAY_BLOCKED, blocked, tuple(lines), _fix(host, "ginnel firewall verify", also), about=relay.name
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


# --- UDP -------------------------------------------------------------------------------------------------------------


def _udp(host: Host) -> Iterable[Finding]:
    """STUN from the tunnel's own port is the daemon's; from any port is this command's."""
    if host.way_out is False or (_all_fail(host) and not _udp_works(host) and not _port80_works(host)):
        return
    tunnel = host.network.udp if host.network is not None else None
    here = _stun_here(host)
    if tunnel is True or (tunnel is None and here is not False):
        return
    if tunnel is False and here:
        yield _own_port(host)
    elif host.udp_elsewhere is True or (host.network is not None and host.network.others_direct > 0):
        silent = ("no STUN server answers on UDP port 3478", "UDP to other ports gets through")
        yield Finding(Cause.STUN_BLOCKED, 0.93, silent, _rule(host, "UDP out to port 3478 of anywhere"))
    else:
        gone = "no STUN server answers: UDP does not get out of this network"
        lines = (gone, "all traffic goes by relays, over TCP 443")
        yield Finding(Cause.UDP_BLOCKED, 0.92, lines, _rule(host, "UDP out, and the answers in"))
        yield Finding(Cause.STUN_BLOCKED, 0.9, (gone,), _rule(host, "UDP out to port 3478 of anywhere"))


def _own_port(host: Host) -> Finding:
    port = host.network.port if host.network is not None else 0
    lines = (
        f"STUN servers answer other ports of this machine, and not {port}, which the tunnel uses",
        f"a firewall stops UDP with source port {port}",
    )
    return Finding(Cause.TUNNEL_PORT_BLOCKED, 0.93, lines, _rule(host, f"UDP out from port {port} to anywhere"))


def _rule(host: Host, what: str) -> Fix:
    return _fix(host, "ginnel firewall plan", f"in the firewall: let {what}")


def _some_stun(host: Host) -> Iterable[Finding]:
    """Of several, some are silent: a machine whose nearest relay that is finds its own address by another."""
    silent = [relay.name for relay in host.relays if relay.stun is False]
    if silent and _stun_here(host):
        lines = (f"no answer on UDP port 3478 of {', '.join(silent[:NAMED])}; other relays answer",)
        fix = _fix(host, "ginnel firewall verify", "in the firewall: let UDP out to port 3478 of anywhere")
        yield Finding(Cause.STUN_BLOCKED, 0.5, lines, fix, about=silent[0], harmless=True)


# --- notes -----------------------------------------------------------------------------------------------------------


def _port80(host: Host) -> Iterable[Finding]:
    if host.port80 is Port80.SILENT:
        lines = ("captive portal detection unavailable (tcp/80 filtered)", "nothing else needs that port")
        yield Finding(Cause.PORT80_BLOCKED, 0.9, lines, _rule(host, "TCP out to port 80 of anywhere, if you like"))


def _ipv6(host: Host) -> Iterable[Finding]:
    known = host.network
    if host.global_v6 and known is not None and known.udp and known.ipv4 and not known.ipv6:
        lines = ("this machine has a global IPv6 address, and no relay answers there",)
        yield Finding(Cause.NO_IPV6, 0.6, lines, _fix(host, "ip -6 route"))
