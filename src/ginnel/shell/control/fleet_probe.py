"""Looking at a relay from outside, as a client would: DERP over TLS, STUN, the captive-portal answer, at each address.

Room: shell. Whether a relay is fit for the map is judged by `Outlook.verdict` and by the fleet's core.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

import msgspec

from ginnel.core.control.derp_entry import NO_FAMILY
from ginnel.core.firewall.evidence import Evidence
from ginnel.core.firewall.verdict import classify
from ginnel.core.node.captive import Sign
from ginnel.core.node.names import verify_of
from ginnel.core.relay.identity import as_address
from ginnel.shell.node.dial import resolve
from ginnel.shell.probe.opened import Door, Patience
from ginnel.shell.probe.port80 import look_at_port80
from ginnel.shell.probe.relay import Caller, look_at_relay
from ginnel.shell.probe.stun import look_at_stun
from ginnel.shell.probe.trouble import has_family
from ginnel.shell.probe.trust import Authorities, Trust
from ginnel.wire.derplogin import Introduction
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPNode
from ginnel.words import NodeKey, NodePrivate

STEP_TIME = 3.0
"""Seconds for each address and port."""

PATIENCE = Patience(connect=2.5, step=2.5, login=2.0)

Service = Literal["DERP", "STUN", "HTTP"]
Result = Literal["good", "failed", "not tried"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One address and port. `result` "not tried": this server has no such family, so it cannot tell."""

    service: Service
    address: str
    port: int
    result: Result
    detail: str = ""
    seconds: float = 0.0

    @property
    def family(self) -> int:
        return 6 if ":" in self.address else 4


@dataclass(frozen=True, slots=True)
class Outlook:
    """What a look at one relay found. `key`: of its DERP server, None if it was not seen."""

    findings: tuple[Finding, ...]
    key: NodeKey | None = None
    problem: str = ""  # why there was nothing to look at

    def _families(self, result: Result, service: Service) -> set[int]:
        return {f.family for f in self.findings if f.service == service and f.result == result}

    @property
    def good(self) -> bool:
        """By one family at least everything that a client needs answers."""
        return bool(self._whole())

    def _whole(self) -> set[int]:
        return self._families("good", "DERP") - self._families("failed", "STUN") - self._families("failed", "DERP")

    @property
    def why(self) -> str:
        """What is wrong, in one line; "" when nothing is."""
        if self.problem:
            return self.problem
        failed = [f"{f.service} at {_place(f)}: {f.detail}" for f in self.findings if f.result == "failed"]
        if not failed and not self.good:
            return "this server has none of the relay's address families"
        return "; ".join(failed[:3])

    def entry(self, node: DERPNode) -> DERPNode:
        """The relay as it may stand in the map: with the addresses that answer, those that cannot be tried from here
        taken at its word, and port 80 only if it answers as clients expect."""
        addresses = {f.family: f.address for f in reversed(self.findings) if f.service == "DERP"}
        whole = self._whole() | self._families("not tried", "DERP")
        http = any(f.service == "HTTP" and f.family == 4 and f.result == "good" for f in self.findings)
        return msgspec.structs.replace(
            node,
            ipv4=addresses.get(4, NO_FAMILY) if 4 in whole else NO_FAMILY,
            ipv6=addresses.get(6, NO_FAMILY) if 6 in whole else NO_FAMILY,
            can_port80=node.can_port80 and http,
        )


def _place(finding: Finding) -> str:
    address = f"[{finding.address}]" if ":" in finding.address else finding.address
    return f"{address}:{finding.port}"


@dataclass(frozen=True, slots=True)
class Prober:
    """`own`: the key by which it logs in; relays of the fleet have it among their members."""

    own: NodePrivate

    async def look(self, node: DERPNode, key: NodeKey | None, *, let_in: bool, http_port: int = 80) -> Outlook:
        """`key`: the relay's, None if it is not known. `let_in`: whether the login must succeed, as it does not on a
        relay that drains or that others run."""
        addresses = await addresses_of(node)
        if not addresses:
            return Outlook((), problem=f"the name {node.host_name} has no address")
        seen: list[NodeKey] = []
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._derp(node, ip, key, seen, let_in)) for ip in addresses]
            if node.stun_port >= 0:
                tasks += [group.create_task(_stun(ip, node.stun_port or 3478)) for ip in addresses]
            if node.can_port80:
                tasks += [group.create_task(_port80(ip, http_port)) for ip in addresses]
        return Outlook(tuple(task.result() for task in tasks), seen[0] if seen else None)

    async def _derp(self, node: DERPNode, ip: str, key: NodeKey | None, seen: list[NodeKey], let_in: bool) -> Finding:
        port = node.derp_port or 443

        trust = Trust.by(verify_of(node), node.host_name, Authorities())
        hello = Introduction(version=2, can_ack_pings=True, is_prober=True, app_name="ginnel-fleet")

        async def log_in() -> str:
            looked = await look_at_relay(
                node.host_name, Door(ip, port, trust, patience=PATIENCE), Caller(self.own, hello)
            )
            _passed(looked.evidence)
            if key is not None and looked.key is not None and looked.key != key:
                raise WireError(f"another relay answers: its key is {looked.key.short()}, expected {key.short()}")
            if let_in and not looked.entered:
                raise WireError("it does not let this server's prober in, so it would let no member in")
            if looked.key is not None:
                seen.append(looked.key)
            return "login" if looked.entered else "shows its key"

        return await _timed("DERP", ip, port, log_in)


class _Failed(Exception):
    """What the probe saw, in words."""


def _passed(evidence: Evidence) -> None:
    verdict = classify(evidence)
    if not verdict.passed:
        raise _Failed(verdict.text)


async def addresses_of(node: DERPNode) -> list[str]:
    """One of each family at most: those of the entry, else those of the name."""
    literal = as_address(node.host_name)
    found = [text for text in (node.ipv4, node.ipv6) if as_address(text) is not None]
    if literal is not None and str(literal) not in found:
        found.append(str(literal))
    wanted = {version for version, text in ((4, node.ipv4), (6, node.ipv6)) if text == ""}
    if literal is None and wanted:
        named = await resolve(node.host_name)
        for version in sorted(wanted):
            found += [text for text in named if (6 if ":" in text else 4) == version][:1]
    return found


async def _timed(service: Service, ip: str, port: int, work: Callable[[], Awaitable[str]]) -> Finding:
    if not has_family(ip):
        return Finding(service, ip, port, "not tried", "this server has no such address family")
    began = time.monotonic()
    result: Result = "failed"
    try:
        async with asyncio.timeout(STEP_TIME):
            detail = await work()
        result = "good"
    except TimeoutError:
        detail = "no answer"
    except (_Failed, WireError) as error:
        detail = str(error)
    return Finding(service, ip, port, result, detail, round(time.monotonic() - began, 4))


async def _stun(ip: str, port: int) -> Finding:
    async def ask() -> str:
        looked = await look_at_stun(ip, port, mark=0)
        _passed(looked.evidence)
        return f"we are {looked.mapped}"

    return await _timed("STUN", ip, port, ask)


async def _port80(ip: str, port: int) -> Finding:
    async def ask() -> str:
        looked = await look_at_port80("", ip, mark=0, port=port)
        _passed(looked.evidence)
        if looked.sign is not Sign.TRUE:
            raise WireError(f"HTTP {looked.evidence.status} without the answer to the challenge")
        return "204"

    return await _timed("HTTP", ip, port, ask)
