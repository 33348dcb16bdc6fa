"""How a machine's network looks: what gets through, what fails and how; and how a way out is written.

Room: core. Pure.
"""

from __future__ import annotations

from ginnel.core.doctor.causes import Fix
from ginnel.core.doctor.evidence import Host, Port80, Probe

INTERCEPTED = ("tls-interception", "wrong-certificate")


def fix_here(host: Host, command: str, also: str = "") -> Fix:
    return Fix(host.name, command, also)


def rule(host: Host, what: str) -> Fix:
    return fix_here(host, "ginnel firewall plan", f"in the firewall: let {what}")


def probes(host: Host) -> list[Probe]:
    """Each place once: a relay may stand on the server's own port."""
    every = [host.control, *(relay.https for relay in host.relays)]
    return list({probe.place: probe for probe in reversed(every) if probe is not None}.values())[::-1]


def udp_works(host: Host) -> bool:
    known = host.network
    by_daemon = known is not None and (bool(known.udp) or known.others_direct > 0)
    return by_daemon or any(relay.stun for relay in host.relays) or host.udp_elsewhere is True


def stun_here(host: Host) -> bool | None:
    """Whether a socket of this command, with any port, got a STUN answer."""
    asked = [relay.stun for relay in host.relays if relay.stun is not None]
    return any(asked) if asked else None


def port80_works(host: Host) -> bool:
    return host.port80 in (Port80.TRUE, Port80.FORGED, Port80.STRIPPED)


def all_fail(host: Host) -> bool:
    found = probes(host)
    return bool(found) and not any(probe.works for probe in found)


def is_cut_off(host: Host) -> bool:
    """Neither the server nor any relay can be used: tunnels that stand go on, and nothing new begins."""
    return host.control is not None and all_fail(host)


def is_intercepted(probe: Probe) -> bool:
    """Somebody else speaks TLS there; a page that comes through such a connection is theirs too."""
    return probe.blocking in INTERCEPTED or (probe.blocking == "block-page" and bool(probe.issuer))


def failure(probe: Probe) -> str:
    return f"{probe.place}: {probe.blocking}" + (f" ({probe.detail})" if probe.detail else "")


def proxy(host: Host) -> list[str]:
    return (
        [f"a proxy is named here ({host.proxy}), and ginnel uses none: it must get out by itself"] if host.proxy else []
    )
