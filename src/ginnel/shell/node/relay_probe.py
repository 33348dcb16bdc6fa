"""Looking at a region's relays as a new node would: TLS, five DERP logins, STUN, port 80 (tailscale:
ipn/localapi/debugderp.go).

Room: shell.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from ginnel.core.firewall.evidence import Ending
from ginnel.core.firewall.verdict import classify
from ginnel.core.node.names import verify_of
from ginnel.core.node.routing import MARK
from ginnel.shell.node.dial import resolve
from ginnel.shell.probe.opened import Door
from ginnel.shell.probe.port80 import look_at_port80
from ginnel.shell.probe.relay import Caller, look_at_relay
from ginnel.shell.probe.stun import look_at_stun
from ginnel.shell.probe.trust import Authorities, Trust
from ginnel.wire.derplogin import introduction
from ginnel.wire.tailcfg import DERPNode, DERPRegion
from ginnel.words import NodeKey, NodePrivate

LOGINS = 5


@dataclass(slots=True)
class Findings:
    """Lines for people."""

    info: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


async def probe_region(region: DERPRegion, *, only_region: bool) -> Findings:
    """Everything that can be wrong with a region, and what is right."""
    found = Findings()
    found.info.append(f'Region {region.region_id} == "{region.region_code}"')
    if only_region:
        found.warnings.append("the DERP map has this region alone: one machine down, and nobody is relayed")
    if not region.nodes:
        found.errors.append("the region has no nodes")
    for node in region.nodes or []:
        await _probe_node(node, found)
    return found


async def _probe_node(node: DERPNode, found: Findings) -> None:
    addresses = await _addresses(node)
    if not addresses:
        found.errors.append(f"node {node.name}: {node.host_name} has no address")
    for address in addresses:
        if not node.stun_only:
            await _probe_logins(node, address, found)
        if node.stun_port >= 0 and ":" not in address:
            await _probe_stun(node, address, found)
    if node.can_port80 and _is_address(node.ipv4):
        await _probe_port80(node, found)


async def _addresses(node: DERPNode) -> list[str]:
    written = [text for text in (node.ipv4, node.ipv6) if _is_address(text)]
    if "" not in (node.ipv4, node.ipv6):
        return written
    looked_up = await resolve(node.host_name)
    return written + [ip for ip in looked_up if not (node.ipv6 if ":" in ip else node.ipv4)]


def _is_address(text: str) -> bool:
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):
            socket.inet_pton(family, text)
            return True
    return False


async def _probe_logins(node: DERPNode, address: str, found: Findings) -> None:
    """Several logins: behind a load balancer they would meet relays with different keys."""
    place = f"node {node.name} at {address} port {node.derp_port or 443}"
    door = Door(address, node.derp_port or 443, Trust.by(verify_of(node), node.host_name, Authorities()), MARK)
    keys: set[NodeKey] = set()
    let_in = True
    for _ in range(LOGINS):
        caller = Caller(NodePrivate(os.urandom(32)), introduction(app_name="ginnel-debug"))
        seen = await look_at_relay(node.host_name, door, caller)
        verdict = classify(seen.evidence)
        if seen.key is None or not verdict.passed:
            found.errors.append(f"{place}: {verdict.text}")
            return
        keys.add(seen.key)
        let_in = seen.entered
    if let_in:
        found.info.append(f"{place}: TLS and {LOGINS} DERP logins succeeded")
    else:
        found.info.append(f"{place}: TLS succeeded, and the relay showed its key {LOGINS} times")
        found.warnings.append(f"{place}: strangers are not let in; whether members are, `ginnel status` tells")
    if len(keys) > 1:
        found.errors.append(f"{place}: {len(keys)} different relays answer; a load balancer must not stand before one")


async def _probe_stun(node: DERPNode, address: str, found: Findings) -> None:
    port = node.stun_port or 3478
    place = f"node {node.name}: STUN at {address} port {port}"
    seen = await look_at_stun(address, port, mark=MARK)
    if seen.mapped is None:
        found.errors.append(f"{place}: {classify(seen.evidence).text}")
    else:
        found.info.append(f"{place}: answers that we are {seen.mapped}")


async def _probe_port80(node: DERPNode, found: Findings) -> None:
    url = f"http://{node.ipv4}/generate_204"
    seen = await look_at_port80(node.host_name, node.ipv4, mark=MARK)
    verdict = classify(seen.evidence)
    if verdict.passed:
        found.info.append(f"{url}: 204, as it should be")
    elif seen.evidence.ending is Ending.ANSWER:
        found.errors.append(f"{url}: {verdict.text}")
    else:
        found.warnings.append(f"{url}: {verdict.text}; captive portals cannot be told")
