"""What ginneld's own connections say where this command's probes say that all is well: somebody answers there and does
not let ginneld in.

Room: core. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.doctor.causes import Cause, Finding, Fix
from ginnel.core.doctor.evidence import Host, RelaySeen

HEALTH_SHOWN = 3


def link_findings(host: Host) -> Iterable[Finding]:
    if host.daemon is not None and host.daemon.state == "Running":
        yield from _control(host)
        yield from _home(host)


def _control(host: Host) -> Iterable[Finding]:
    """The daemon's word is asked for twice, before all looks and behind them: both must say so."""
    daemon, probe = host.daemon, host.control
    later = host.network.control if host.network is not None else None
    if daemon is None or daemon.control_connected or later or probe is None or not probe.works:
        return
    why = daemon.control_problem or "it does not say why"
    lines = [
        f"ginneld has no connection to the server: {why}",
        f"{probe.place} answers this command, so it is there and can be reached",
        *daemon.health[:HEALTH_SHOWN],
    ]
    also = "if the server does not know this machine any more, `sudo ginnel up` logs it in anew"
    yield Finding(Cause.CONTROL_REFUSES, 0.9, tuple(lines), Fix(host.name, "sudo ginnel status", also))


def _home(host: Host) -> Iterable[Finding]:
    known = host.network
    if known is None or not known.home:
        return
    told = next((relay for relay in known.relays if relay.region == known.home), None)
    answers = [relay for relay in host.relays if relay.region == known.home and _works(relay)]
    if told is None or told.connected or not told.problem or not answers:
        return
    name = answers[0].name
    lines = (
        f"ginneld cannot log in to its home relay, {name}: {told.problem}",
        "the relay answers this command, so it is there and can be reached",
        "who is told that this machine listens there does not reach it by relay",
    )
    fix = Fix("the server", "ginnel relay list", f"see whom {name} lets in; its log has the reason")
    yield Finding(Cause.RELAY_REFUSES, 0.9, lines, fix, about=name)


def _works(relay: RelaySeen) -> bool:
    return relay.https is not None and relay.https.works
