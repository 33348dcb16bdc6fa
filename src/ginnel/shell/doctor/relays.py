"""Servers and relays as `firewall verify` tries them, told as evidence; and UDP to a port where nothing listens.

Room: shell.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from ginnel.core.doctor.evidence import NameSeen, Probe, RelaySeen
from ginnel.core.firewall.evidence import Ending
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.report import OPTIONAL, Check, Reach, Report, Result, Target
from ginnel.core.firewall.tried import Asked, relays
from ginnel.core.firewall.verdict import Blocking
from ginnel.shell.firewall.tunnel import TunnelSeen
from ginnel.shell.firewall.verify import NO_FAMILY, verify
from ginnel.shell.node.dial import SO_MARK
from ginnel.shell.probe.opened import Patience

ELSEWHERE = 33434  # where nothing listens (traceroute's): who gets a packet there says so
ELSEWHERE_TIME = 1.0
ELSEWHERE_TRIED = 3
PATIENCE = Patience(connect=3.2, step=2.2, login=1.2)
"""So that second tries come to an end within the doctor's time."""


@dataclass(frozen=True, slots=True)
class NetworkSeen:
    """`refused`: our own kernel would not send UDP. `unlooked`: places of which nothing can be said, and why."""

    relays: tuple[RelaySeen, ...] = ()
    control: Probe | None = None
    names: tuple[NameSeen, ...] = ()
    refused: bool = False
    unlooked: tuple[str, ...] = ()


async def look_at_network(asked: Asked, *, mark: int, within: float) -> NetworkSeen:
    """Every server and every relay, as a client would come to them."""
    report = await verify(asked, tunnel=_by_the_daemon, mark=mark, within=within, patience=PATIENCE)
    reached = {reach.target: reach for need in report.needs for reach in need.reaches}
    control = next((reach for target, reach in reached.items() if target.role is Role.CONTROL), None)
    return NetworkSeen(
        relays=tuple(
            RelaySeen(relay.region, relay.region_code, relay.https.node, _probe(reached.get(relay.https)), stun)
            for relay in relays(asked)
            for stun in [_answered(reached.get(relay.stun) if relay.stun_port else None)]
        ),
        control=_probe(control),
        names=tuple(_names(reached.values())),
        refused=any(_is_forbidden(check) for check in _checks(report) if check.target.transport == "udp"),
        unlooked=tuple(dict.fromkeys(line for reach in reached.values() for line in _unlooked(reach))),
    )


def _unlooked(reach: Reach) -> Iterable[str]:
    """What was begun and did not end, or could not be tried. A family that this machine has not is no such thing."""
    if reach.result is Result.UNTRIED and reach.target.need.partition("-")[0] not in OPTIONAL:
        for check in reach.checks:
            if check.verdict is None and not check.why.startswith(NO_FAMILY):
                yield f"{_place(reach.target, (check,))}: {check.why}"


async def _by_the_daemon(_: Asked) -> TunnelSeen:
    """Its net check looks at the tunnel's port."""
    return TunnelSeen((), "by the daemon")


def _checks(report: Report) -> Iterable[Check]:
    return (check for need in report.needs for reach in need.reaches for check in reach.checks)


def _is_forbidden(check: Check) -> bool:
    return check.verdict is not None and check.verdict.evidence.ending is Ending.FORBIDDEN


def _probe(reach: Reach | None) -> Probe | None:
    """None: there was nothing to try, or nothing came of it in time."""
    if reach is None or reach.result is Result.UNTRIED:
        return None
    passed = (check for check in reach.checks if check.address and check.result is Result.PASSED)
    told = reach.worst or next(passed)
    place, verdict = _place(reach.target, reach.checks), told.verdict
    if verdict is None or verdict.blocking is Blocking.NONE:
        return Probe(place)
    leaf = verdict.evidence.leaf
    return Probe(place, str(verdict.blocking), verdict.text, leaf.issuer if leaf is not None else "")


def _place(target: Target, checks: tuple[Check, ...]) -> str:
    address = next((check.address for check in checks if check.address), "")
    shown = f"[{address}]:{target.port}" if ":" in address else f"{address}:{target.port}"
    if not address:
        return f"{target.host}:{target.port}"
    return shown if target.host == address else f"{target.host} ({shown})"


def _answered(reach: Reach | None) -> bool | None:
    if reach is None or reach.result is Result.UNTRIED:
        return None
    return reach.result is Result.PASSED


def _names(reaches: Iterable[Reach]) -> Iterable[NameSeen]:
    """Each name once; it is needed where the map has no address beside it."""
    seen: set[str] = set()
    for reach in reaches:
        looked = next((check for check in reach.checks if not check.address and check.verdict is not None), None)
        if looked is None or looked.verdict is None or reach.target.host in seen:
            continue
        seen.add(reach.target.host)
        evidence = looked.verdict.evidence
        found, known = tuple(map(str, evidence.answered)), tuple(map(str, evidence.expected))
        problem = looked.text if looked.blocking is Blocking.DNS_FAILURE else ""
        lied = looked.blocking is Blocking.DNS_LIE
        needed = not any(check.address for check in reach.checks) or reach.target.role is Role.CONTROL
        yield NameSeen(reach.target.host, found, known, problem, lied, needed)


# --- UDP elsewhere ---------------------------------------------------------------------------------------------------


async def udp_elsewhere(asked: Asked, *, mark: int) -> bool | None:
    """True: an ICMP `port unreachable` came back. Silence says nothing: many machines send none."""
    addresses = [str(ip) for relay in relays(asked) for ip in relay.literals][:ELSEWHERE_TRIED]
    found = await asyncio.gather(*(_refuses(ip, mark) for ip in addresses))
    return True if any(found) else None


async def _refuses(ip: str, mark: int) -> bool:
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as asking:
        with suppress(PermissionError):
            asking.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        try:
            asking.connect((ip, ELSEWHERE))
            asking.send(b"\0")
            async with asyncio.timeout(ELSEWHERE_TIME):
                await asyncio.get_running_loop().sock_recv(asking, 1)
        except ConnectionRefusedError:
            return True
        except (OSError, TimeoutError):
            return False
    return False
