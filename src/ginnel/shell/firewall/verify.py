"""Trying each rule for real from this host: every server, every relay of every region, by both families, all at once.

Room: shell. What a failed probe looks like is core/firewall/verdict.py's, what it means core/firewall/report.py's.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

from ginnel.core.firewall.evidence import Ending, Evidence
from ginnel.core.firewall.joined import joined
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.notes import notes_of
from ginnel.core.firewall.report import Check, Report, Target, lost_regions, needs_of
from ginnel.core.firewall.tried import (
    Asked,
    RelayTarget,
    Server,
    judged_name,
    literal,
    relays,
    servers,
    told_names,
    vouched,
    with_own_certificate,
)
from ginnel.core.firewall.verdict import classify
from ginnel.core.node.names import verify_of
from ginnel.core.node.routing import MARK
from ginnel.shell.firewall.tunnel import TunnelSeen, by_own_socket
from ginnel.shell.probe.control import ControlSeen, look_at_control, look_at_page
from ginnel.shell.probe.names import NameLooker, NameSeen
from ginnel.shell.probe.opened import Door, Patience
from ginnel.shell.probe.port80 import look_at_port80
from ginnel.shell.probe.relay import Caller, look_at_relay
from ginnel.shell.probe.stun import look_at_stun
from ginnel.shell.probe.trouble import has_family
from ginnel.shell.probe.trust import NAME, Authorities, Trust
from ginnel.wire.derp import PROTOCOL_VERSION
from ginnel.wire.derplogin import Introduction
from ginnel.words import IpAddress, NodePrivate

log = logging.getLogger(__name__)

AT_ONCE = 256
AT_ONCE_TLS = 64
ADDRESSES = 3
"""Of a server, of each family: clients race them all."""

WHOLE_TIME = 20.0
TIME_EACH = 0.05
WHOLE_TIME_MOST = 120.0
OUT_OF_TIME = "there was no time to try it"
FAULT = "this machine could not try it: a fault of ginnel's own"
NO_FAMILY = "this machine has no route by IPv"

Told = Callable[[int, int], None]
"""How many probes are done, of how many so far."""
Tunnel = Callable[[Asked], Awaitable[TunnelSeen]]


async def verify(
    asked: Asked,
    *,
    tunnel: Tunnel | None = None,
    told: Told | None = None,
    mark: int = MARK,
    within: float = WHOLE_TIME_MOST,
    patience: Patience | None = None,
) -> Report:
    """`tunnel`: how the tunnel's port is tried, by a socket of our own unless something else is given. `told`: hears of
    each probe that is done. Takes about what the slowest answer takes: 3 to 7 s where everything is dropped, and never
    more than `within`; what is not done then is told as not tried."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    trying = _Trying(asked, told or (lambda *_: None), mark, patience or Patience())
    try:
        async with (
            asyncio.timeout(min(within, WHOLE_TIME + TIME_EACH * len(trying.relays))),
            asyncio.TaskGroup() as group,
        ):
            group.create_task(trying.by_port(tunnel or by_own_socket))
            trying.all(group)
    except TimeoutError:
        trying.complete = False
    return _report(asked, trying, trying.tunnel, loop.time() - began)


def _report(asked: Asked, trying: _Trying, tunnel: TunnelSeen, seconds: float) -> Report:
    checks = joined([*trying.found(), *tunnel.checks])
    needs = needs_of(checks, expected=("tunnel",))
    lost = lost_regions(needs, asked.around)
    return Report(
        needs, lost, notes_of(needs), seconds, asked.source, tunnel.how, trying.complete, limited=bool(asked.regions)
    )


@dataclass(slots=True)
class _Trying:
    asked: Asked
    told: Told
    mark: int
    patience: Patience
    complete: bool = True
    tunnel: TunnelSeen = field(default_factory=lambda: TunnelSeen((), "not at all, for want of time"))
    relays: tuple[RelayTarget, ...] = ()
    _checks: list[Check] = field(default_factory=list)
    _open: dict[tuple[Target, str], None] = field(default_factory=dict)
    _done: int = 0
    _all: int = 0
    _names: NameLooker = field(default_factory=NameLooker)
    _lookups: dict[str, asyncio.Task[NameSeen]] = field(default_factory=dict)
    _room: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_at_once()))
    _room_tls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE_TLS))
    _authorities: Authorities = field(default_factory=Authorities)
    _caller: Caller = field(
        default_factory=lambda: Caller(
            NodePrivate(os.urandom(32)),
            Introduction(version=PROTOCOL_VERSION, can_ack_pings=True, app_name="ginnel-verify"),
        )
    )
    _expected: dict[str, frozenset[IpAddress]] = field(default_factory=dict)

    _group: asyncio.TaskGroup = field(init=False)

    def __post_init__(self) -> None:
        self.relays = relays(self.asked)
        self._expected = told_names(self.asked)

    def found(self) -> list[Check]:
        """With those that were not come to."""
        return [*self._checks, *(Check(target, address, None, OUT_OF_TIME) for target, address in self._open)]

    async def by_port(self, tunnel: Tunnel) -> None:
        self.tunnel = await tunnel(self.asked)

    def all(self, group: asyncio.TaskGroup) -> None:
        """Starts everything; the group waits for it."""
        self._group = group
        for server, target in servers(self.asked):
            group.create_task(self._server(server, target))
        for relay in self.relays:
            group.create_task(self._relay(relay))

    # --- one probe -----------------------------------------------------------------------------------------------

    async def _probe(self, target: Target, address: str, work: Coroutine[Any, Any, tuple[Evidence, float]]) -> Check:
        self._all += 1
        self._open[target, address] = None
        try:
            check = await self._checked(target, address, work)
        except Exception:
            log.exception("a fault of ginnel's own, while it tried %s of %s", target.need, target.label)
            check = Check(target, address, None, FAULT)
        finally:
            work.close()
        self._checks.append(check)
        del self._open[target, address]
        self._done += 1
        self.told(self._done, self._all)
        return check

    async def _checked(self, target: Target, address: str, work: Coroutine[Any, Any, tuple[Evidence, float]]) -> Check:
        if not has_family(address):
            return Check(target, address, None, f"{NO_FAMILY}{6 if ':' in address else 4}")
        async with self._room:
            evidence, seconds = await work
        if evidence.ending is Ending.FAULT:
            return Check(target, address, None, f"this machine could not try it: {evidence.error}")
        return Check(target, address, classify(evidence), seconds=seconds)

    # --- names ---------------------------------------------------------------------------------------------------

    async def _look_up(self, host: str) -> NameSeen:
        """Each name once."""
        if host not in self._lookups:
            self._lookups[host] = self._group.create_task(self._names.look(host))
        return await asyncio.shield(self._lookups[host])

    async def _name(self, target: Target) -> tuple[IpAddress, ...]:
        """What DNS says of a target's host, told as a check of its own."""
        self._open[target, ""] = None
        seen = await self._look_up(target.host)
        del self._open[target, ""]
        evidence = judged_name(seen.evidence, self._expected.get(target.host.lower(), frozenset()))
        self._checks.append(Check(target, "", classify(evidence), seconds=evidence.seconds))
        return seen.addresses

    # --- relays --------------------------------------------------------------------------------------------------

    async def _relay(self, relay: RelayTarget) -> None:
        async with asyncio.TaskGroup() as group:
            for address in relay.literals:
                self._relay_at(group, relay, str(address))
            if literal(relay.node.host_name) is None:
                group.create_task(self._relay_by_name(relay))

    async def _relay_by_name(self, relay: RelayTarget) -> None:
        targets = [relay.https] if relay.derp_port else [relay.stun] if relay.stun_port else []
        for target in targets:
            addresses = await self._name(target)
            async with asyncio.TaskGroup() as group:
                for version in relay.named:
                    for address in [ip for ip in addresses if ip.version == version][:1]:
                        self._relay_at(group, relay, str(address))

    def _relay_at(self, group: asyncio.TaskGroup, relay: RelayTarget, address: str) -> None:
        if relay.derp_port:
            group.create_task(self._probe(relay.https, address, self._derp(relay, address)))
        if relay.stun_port:
            group.create_task(self._probe(relay.stun, address, self._stun(relay, address)))
        if relay.portal:
            group.create_task(self._probe(relay.port80, address, self._port80(relay, address)))

    async def _derp(self, relay: RelayTarget, address: str) -> tuple[Evidence, float]:
        host = relay.node.host_name
        trust = Trust.by(verify_of(relay.node), host, self._authorities)
        async with self._room_tls:
            seen = await look_at_relay(
                host, Door(address, relay.derp_port, trust, self.mark, self.patience), self._caller
            )
        return seen.evidence, seen.seconds

    async def _stun(self, relay: RelayTarget, address: str) -> tuple[Evidence, float]:
        seen = await look_at_stun(address, relay.stun_port, mark=self.mark)
        return seen.evidence, seen.seconds or seen.evidence.seconds

    async def _port80(self, relay: RelayTarget, address: str) -> tuple[Evidence, float]:
        seen = await look_at_port80(relay.node.host_name, address, mark=self.mark)
        return seen.evidence, seen.evidence.seconds

    # --- the coordination server's own hosts -----------------------------------------------------------------------

    async def _server(self, server: Server, target: Target) -> None:
        written = literal(target.host)
        addresses = (written,) if written is not None else await self._name(target)
        async with asyncio.TaskGroup() as group:
            for version in (4, 6):
                for address in [str(ip) for ip in addresses if ip.version == version][:ADDRESSES]:
                    group.create_task(self._probe(target, address, self._by_https(server, target, address)))

    async def _by_https(self, server: Server, target: Target, address: str) -> tuple[Evidence, float]:
        plain = server.url.startswith("http://")
        trust = None if plain else Trust.by(NAME + target.host, target.host, self._authorities)
        door = Door(address, target.port, trust, self.mark, self.patience)
        async with self._room_tls:
            seen = await self._look_at(server, target, door)
            leaf = seen.evidence.leaf
            if seen.evidence.ending is Ending.CERTIFICATE and leaf is not None and vouched(leaf, server.pins):
                pinned = Trust.by(leaf.pin, target.host, self._authorities)
                seen = await self._look_at(server, target, replace(door, trust=pinned))
        return with_own_certificate(seen.evidence, server.pins), seen.seconds

    async def _look_at(self, server: Server, target: Target, door: Door) -> ControlSeen:
        authority = _authority(target, secure=door.trust is not None)
        if server.role is Role.CONTROL:
            return await look_at_control(authority, door, server.key)
        return await look_at_page(authority, door)


def _authority(target: Target, *, secure: bool) -> str:
    host = f"[{target.host}]" if ":" in target.host else target.host
    return host if target.port == (443 if secure else 80) else f"{host}:{target.port}"


def _at_once() -> int:
    """Sockets: a second try opens three more."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return AT_ONCE if soft == resource.RLIM_INFINITY else max(8, min(AT_ONCE, soft // 5))
