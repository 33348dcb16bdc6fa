"""What a machine's own firewall does to the mesh: lets its packets not out, or none pass inside the tunnel.

Room: core. Pure. What it keeps from coming in uninvited matters where NATs are hard: relayed.py.
"""

from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.doctor.causes import Cause, Finding, Fix
from ginnel.core.doctor.evidence import Host, Pair
from ginnel.wire.doctor import FirewallTold, Stopped

OUTWARD = {
    "https": "TCP out to port 443: no server, no relay",
    "stun": "UDP out to port 3478: no STUN",
    "tunnel": "UDP out from the tunnel's port: no direct path",
}
IN_A_SCRIPT = ("ufw", "firewalld")
SURE = 0.97
THEREFORE = frozenset(
    {
        Cause.NO_INTERNET, Cause.HTTPS_BLOCKED, Cause.CONTROL_BLOCKED, Cause.CONTROL_DOWN, Cause.RELAY_BLOCKED,
        Cause.RELAY_DOWN, Cause.UDP_BLOCKED, Cause.STUN_BLOCKED, Cause.TUNNEL_PORT_BLOCKED,
    }
)  # fmt: skip
"""What a firewall of the machine itself looks like from within, where it lets nothing out."""


def firewall_of(host: Host) -> FirewallTold | None:
    """The daemon's latest word."""
    latest = host.network.firewall if host.network is not None else None
    return latest or host.firewall


def stopped(told: FirewallTold | None) -> dict[str, Stopped]:
    return {one.need: one for one in told.stopped} if told is not None else {}


def keeps_in(host: Host) -> bool:
    """Whether this machine's own rules are known to let the mesh's traffic not out."""
    return host.udp_refused or any(need in stopped(firewall_of(host)) for need in OUTWARD)


def own_firewall(host: Host) -> Iterable[Finding]:
    told = firewall_of(host)
    yield from _outward(host, told)
    kept = stopped(told)
    if "inside-out" in kept:
        lines = (
            f"this machine's own firewall lets nothing into the tunnel: {kept['inside-out'].rule}",
            "its programs reach no machine of the mesh, though `ginnel ping` is answered",
        )
        yield Finding(Cause.HOST_FIREWALL, SURE, lines, _fix(host, kept["inside-out"].opens), about="inside the mesh")
    elif "inside-in" in kept:
        lines = (
            f"this machine's own firewall lets nothing come out of the tunnel: {kept['inside-in'].rule}",
            "other machines of the mesh cannot connect to it",
        )
        fix = _fix(host, kept["inside-in"].opens, "if they shall; the policy still says who may")
        yield Finding(Cause.HOST_FIREWALL, 0.8, lines, fix, about="inside the mesh", harmless=True)


def _outward(host: Host, told: FirewallTold | None) -> Iterable[Finding]:
    kept = stopped(told)
    lines = [
        f"this machine's own firewall lets no {OUTWARD[need]} ({kept[need].rule})" for need in OUTWARD if need in kept
    ]
    if not lines and host.udp_refused:
        lines = ["this machine's own firewall refuses to send UDP to the relays"]
    if lines:
        yield Finding(Cause.HOST_FIREWALL, SURE, tuple(lines), _let_out(host, told))


def _let_out(host: Host, told: FirewallTold | None) -> Fix:
    backend = told.backend if told is not None else ""
    if backend in IN_A_SCRIPT:
        return Fix(host.name, f"ginnel firewall rules --format {backend} | sudo sh", "lets out what the mesh needs")
    form = backend if backend in ("nftables", "iptables") else "plain"
    return Fix(host.name, f"ginnel firewall rules --format {form}", "are the rules that must stand before it")


def uninvited(host: Host) -> Iterable[Finding]:
    """Alone, a closed port is a note: nothing is the worse for it until a peer with a hard NAT comes."""
    told = firewall_of(host)
    if told is not None and told.closed and not keeps_in(host):
        lines = (
            "this machine's own firewall keeps uninvited UDP from the tunnel's port"
            + (f": {told.rule}" if told.rule else ""),
            "it costs the direct path with peers behind hard NATs, and nothing with others",
        )
        yield Finding(Cause.HOST_FIREWALL, 0.8, lines, _fix(host, told.opens), about="uninvited packets", harmless=True)


def of_peer(pair: Pair) -> Iterable[Finding]:
    """What the other end's own firewall keeps out inside the tunnel: it may be meant so."""
    kept = stopped(pair.theirs.firewall if pair.theirs is not None else None)
    peer = pair.peer.name
    for need, line in (
        ("inside-out", f"the firewall of {peer} lets its programs send nothing into the tunnel"),
        ("inside-in", f"the firewall of {peer} lets nothing come out of the tunnel: no connection to it is accepted"),
    ):
        if need in kept:
            fix = Fix(peer, "ginnel doctor", "names the rule")
            yield Finding(
                Cause.PEER_HOST_FIREWALL, 0.9, (line,), fix, about="inside the mesh", harmless=need == "inside-in"
            )
            return


def _fix(host: Host, command: str, also: str = "") -> Fix:
    return Fix(host.name, command, also)
