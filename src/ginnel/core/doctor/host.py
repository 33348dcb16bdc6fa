"""What ails one machine: each rule looks at the evidence and finds one cause, or nothing.

Room: core. Pure. The network's rules are in network.py; this file has the machine itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ginnel.core.doctor.causes import Cause, Finding, Fix
from ginnel.core.doctor.evidence import Clock, Host
from ginnel.core.doctor.links import link_findings
from ginnel.core.doctor.network import network_findings

CLOCK_BOUND = 60.0
"""Seconds. WireGuard refuses a handshake whose time is not after the last one's (WireGuard paper §5.1), so a clock that
is set back after a start costs the sessions; certificates and keys' expiry are judged by it too."""


def host_findings(host: Host) -> list[Finding]:
    """In no order; `ranked` has that."""
    return [*_machine(host), *network_findings(host), *link_findings(host)]


def _machine(host: Host) -> list[Finding]:
    rules: tuple[Callable[[Host], Iterable[Finding]], ...] = (
        _daemon,
        _tun,
        _login,
        _clock,
        _port,
        _clashes,
        _versions,
        _alone,
        _unlooked,
    )
    return [finding for rule in rules for finding in rule(host)]


def fix(host: Host, command: str, also: str = "") -> Fix:
    return Fix(host.name, command, also)


def _restart(host: Host, also: str = "") -> Fix:
    if host.unit:
        return fix(host, "sudo systemctl restart ginneld", also)
    return fix(host, "sudo ginneld", "; ".join(filter(None, ("once the one that runs is ended", also))))


# --- the daemon ------------------------------------------------------------------------------------------------------


def _daemon(host: Host) -> Iterable[Finding]:
    if host.daemon is None:
        why = host.why_down or "ginneld does not run"
        start = fix(host, "sudo systemctl start ginneld") if host.unit else fix(host, "sudo ginneld")
        yield Finding(Cause.DAEMON_DOWN, 0.95, (why,), start)


def _tun(host: Host) -> Iterable[Finding]:
    if host.daemon is not None and host.daemon.tunnel_problem:
        yield Finding(Cause.NO_TUN, 0.97, (host.daemon.tunnel_problem,), _restart(host))
    elif host.daemon is None and host.tun_device is False:
        lines = ("there is no /dev/net/tun, so ginneld cannot make its interface",)
        yield Finding(Cause.NO_TUN, 0.97, lines, fix(host, "sudo modprobe tun", "or give the container that device"))


def _login(host: Host) -> Iterable[Finding]:
    daemon = host.daemon
    if daemon is None:
        return
    if daemon.key_expired:
        lines = ("this machine's key has expired; the server lets it in no more until somebody logs in again",)
        yield Finding(Cause.KEY_EXPIRED, 0.97, lines, fix(host, "sudo ginnel up --force-reauth"))
    if daemon.state == "NeedsLogin":
        why = daemon.control_problem or "this machine is not logged in to a coordination server"
        yield Finding(
            Cause.NOT_LOGGED_IN, 0.95, (why,), fix(host, "sudo ginnel up", _server_wanted(daemon.control_url))
        )
    if daemon.state == "NeedsMachineAuth":
        lines = ("the server knows this machine, and nobody has approved it yet",)
        yield Finding(
            Cause.NEEDS_APPROVAL, 0.95, lines, Fix("the server", "ginnel auth list", "then `ginnel auth approve`")
        )
    if daemon.state == "Stopped":
        lines = ("`ginnel down` was run here: the machine is logged in and not connected",)
        yield Finding(Cause.STOPPED, 0.97, lines, fix(host, "sudo ginnel up"))


def _server_wanted(url: str) -> str:
    return "" if url else "with --invite or --login-server"


# --- the machine -----------------------------------------------------------------------------------------------------


def _clock(host: Host) -> Iterable[Finding]:
    """One source may be wrong itself; several that agree are not. The server's own word and its map's are one."""
    off = [clock for clock in host.clocks if abs(clock.ahead) > CLOCK_BOUND]
    right = [clock for clock in host.clocks if clock not in off]
    if not off:
        return
    lines = [f"this machine's clock is {_clock_words(clock)} the time of {clock.source}" for clock in off]
    if right:
        lines.append(f"and right by that of {', '.join(clock.source for clock in right[:3])}")
        at_server = Fix("the server", "sudo timedatectl set-ntp true", "or at whichever of those has the wrong time")
        yield Finding(Cause.SERVER_CLOCK_WRONG, 0.8, tuple(lines), at_server)
        return
    lines.append("WireGuard refuses handshakes from the past, and certificates seem not valid yet or no more")
    confidence = 0.95 if len({clock.source for clock in off}) > 1 else 0.85
    yield Finding(Cause.CLOCK_WRONG, confidence, tuple(lines), fix(host, "sudo timedatectl set-ntp true"))


def _clock_words(clock: Clock) -> str:
    return f"{_span(abs(clock.ahead))} {'ahead of' if clock.ahead > 0 else 'behind'}"


def _span(seconds: float) -> str:
    for size, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"


def _port(host: Host) -> Iterable[Finding]:
    daemon = host.daemon
    if daemon is None or not daemon.wanted_port or not daemon.port or daemon.port == daemon.wanted_port:
        return
    by = f" by {host.holder}" if host.holder else ""
    lines = (
        f"UDP port {daemon.wanted_port} is taken{by}; ginneld uses {daemon.port} instead",
        f"firewall rules and port forwards for {daemon.wanted_port} do not fit that port",
    )
    also = f"after {host.holder or 'the other program'} is stopped; or give one of both another port (`ginneld --port`)"
    yield Finding(Cause.PORT_TAKEN, 0.95, lines, _restart(host, also))


def _clashes(host: Host) -> Iterable[Finding]:
    stealing = [clash for clash in host.clashes if clash.steals]
    if stealing:
        lines = [f"{clash.what} takes packets for {', '.join(clash.covers[:5])}" for clash in stealing]
        lines.append("they leave by it and not by the tunnel")
        yield Finding(
            Cause.ROUTE_CLASH, 0.95, tuple(lines), fix(host, "ip rule; ip route show table all", "take it away")
        )
    covering = [clash for clash in host.clashes if clash.covers and not clash.steals]
    if covering:
        lines = [f"{clash.what} covers mesh addresses: {', '.join(clash.covers[:5])}" for clash in covering]
        lines.append("packets for these go into the tunnel, so whoever has them in the other network is out of reach")
        also = "number that network otherwise: 100.64.0.0/10 is the mesh's"
        yield Finding(Cause.CGNAT_CLASH, 0.85, tuple(lines), fix(host, "ip address", also))


def _versions(host: Host) -> Iterable[Finding]:
    daemon = host.daemon
    if daemon is None or not daemon.version or not host.program or daemon.version == host.program:
        return
    lines = (f"ginneld that runs is {daemon.version}, this command is {host.program}: it was not restarted since",)
    yield Finding(Cause.OLD_VERSION, 0.6, lines, _restart(host))


def _unlooked(host: Host) -> Iterable[Finding]:
    """What is not known to be well is not called well."""
    lines = [f"not looked at: {line}" for line in host.unlooked]
    if host.daemon is not None and host.daemon.state == "Running":
        lines += [] if host.clocks else ["not looked at: this machine's clock: no source of time answered"]
        if host.control is None and all(relay.https is None for relay in host.relays):
            lines.append("not looked at: any server or relay: none is known here, or nothing came of it")
    if lines:
        again = fix(host, "ginnel doctor", "when the machine has less to do, or its network is quicker")
        yield Finding(Cause.NOT_LOOKED_AT, 0.99, tuple(lines), again)


def _alone(host: Host) -> Iterable[Finding]:
    """Not of a pair: there it would be the peer that is not shown."""
    if host.alone:
        lines = ("no other machine is shown to this one: it is the first of the mesh, or the policy shows it none",)
        fix = Fix("the server", "ginnel policy get", "and `ginnel nodes list` shows all machines")
        yield Finding(Cause.POLICY_DENIES, 0.5, lines, fix, about="nobody", harmless=True)
