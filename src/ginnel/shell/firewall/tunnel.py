"""UDP from the tunnel's own port: by the daemon, which holds it, or by a socket of this process.

Room: shell. STUN servers are the destinations that answer: rules that let the port out to anywhere let it out to them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ginnel.core.firewall.evidence import Ending, Evidence, Step
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.report import Check, Target
from ginnel.core.firewall.tried import Asked, relays
from ginnel.core.firewall.verdict import classify
from ginnel.core.node.routing import MARK
from ginnel.shell.probe.names import NameLooker
from ginnel.shell.probe.stun import look_at_stun
from ginnel.shell.probe.trouble import has_family

ANYWHERE = {4: "0.0.0.0", 6: "::"}  # noqa: S104  (relays whose addresses the daemon knows by DNS)
SERVERS = 8
"""Of each family: the answer of any one will do."""


@dataclass(frozen=True, slots=True)
class TunnelSeen:
    """how: by whom and from where it was tried. taken: not at all, since somebody else holds the port."""

    checks: tuple[Check, ...]
    how: str
    taken: bool = False


def target(port: int | None) -> Target:
    return Target("tunnel", Role.RELAY, "anywhere", port or 0, "udp")


async def by_own_socket(asked: Asked) -> TunnelSeen:
    """Each server from a socket of its own, all on the one port."""
    port = asked.port or 0
    how = f"from UDP port {port} by a socket of this command's own" if port else "from a random UDP port"
    wanted = await _servers(asked)
    if not wanted:
        return TunnelSeen((), "not at all, since no STUN server is known that would answer")
    tried = [(address, stun) for address, stun in wanted if has_family(address)]
    seen = await asyncio.gather(*(look_at_stun(address, stun, mark=MARK, source_port=port) for address, stun in tried))
    checks = [
        Check(target(port), address, classify(one.evidence), seconds=one.seconds)
        for (address, _), one in zip(tried, seen, strict=True)
    ]
    if checks and all(_taken(check) for check in checks):
        why = f"UDP port {port} is taken by another program: name another by --port, or that program's --socket"
        return TunnelSeen(
            (Check(target(port), "", None, why),), f"not at all, since UDP port {port} is taken", taken=True
        )
    return TunnelSeen(tuple(checks), how)


def _taken(check: Check) -> bool:
    return check.verdict is not None and check.verdict.evidence.error == "address already in use"


async def _servers(asked: Asked) -> list[tuple[str, int]]:
    """Addresses and ports, one of each region before a second."""
    able = [relay for relay in relays(asked) if relay.stun_port]
    found = [(place, ip, relay.stun_port) for relay in able for place, ip in enumerate(relay.literals)]
    if not found:
        names = NameLooker()
        seen = await asyncio.gather(*(names.look(relay.node.host_name) for relay in able[:SERVERS]))
        found = [(0, ip, relay.stun_port) for relay, one in zip(able, seen, strict=False) for ip in one.addresses]
    found.sort(key=lambda row: row[0])
    by_family = ([(str(ip), port) for _, ip, port in found if ip.version == version] for version in (4, 6))
    return [server for family in by_family for server in list(dict.fromkeys(family))[:SERVERS]]


def by_daemon(answer: Mapping[str, Any], asked: Asked) -> TunnelSeen:
    """What the daemon's net check says, which asks from the tunnel's own sockets. answer: its `Report`."""
    if not answer:
        return TunnelSeen((), "the daemon holds the tunnel's port, and its net check said nothing")
    checks = [
        Check(target(asked.port), address, classify(_by_report(bool(answer.get(mapped)))))
        for version, mapped in ((4, "GlobalV4"), (6, "GlobalV6"))
        if (address := _reachable(asked, version, known=bool(answer.get(mapped))))
    ]
    mapped = " and ".join(str(answer[name]) for name in ("GlobalV4", "GlobalV6") if answer.get(name))
    seen_as = f", seen as {mapped}" if mapped else ""
    return TunnelSeen(tuple(checks), f"from UDP port {asked.port or 'of its choice'} by the daemon{seen_as}")


def _reachable(asked: Asked, version: int, *, known: bool) -> str:
    """An address that the daemon could ask, "" where it has none of that family, or we have not."""
    servers = [str(ip) for relay in relays(asked) if relay.stun_port for ip in relay.literals if ip.version == version]
    servers = servers or ([ANYWHERE[version]] if known or version == 4 else [])
    return next((address for address in servers if known or has_family(address)), "")


def _by_report(answered: bool) -> Evidence:
    return Evidence(Step.STUN, Ending.DONE if answered else Ending.SILENCE, 3.0)
