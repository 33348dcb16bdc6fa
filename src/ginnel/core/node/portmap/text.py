"""What a port mapper is at, for people and for programs.

Room: core. Pure.
"""

from __future__ import annotations

from typing import Any

from ginnel.core.node.addresses import is_private
from ginnel.core.node.portmap.actions import Protocol
from ginnel.core.node.portmap.by_upnp import ByUpnp
from ginnel.core.node.portmap.mapper import PortMapper
from ginnel.core.node.portmap.states import Asking, Held, Off
from ginnel.words import Instant

NO_ROUTER = "the node is down, it is switched off, or there is no home router (`ginnel status`, `ginnel up`)"


def view(mapper: PortMapper, now: Instant, *, advertised: bool = True) -> dict[str, Any]:
    """The members of `ginnel debug portmap --json`. `advertised`: the mesh believes the address."""
    held = mapper.state if isinstance(mapper.state, Held) else None
    way = mapper.state.way if isinstance(mapper.state, Asking | Held) else None
    gateway = None if isinstance(mapper.state, Off) else mapper.gateway
    return {
        "State": type(mapper.state).__name__.lower(),
        "Gateway": str(gateway.address) if gateway is not None else "",
        "Interface": gateway.interface if gateway is not None else "",
        "Internal": f"{gateway.own}:{mapper.port}" if gateway is not None else "",
        "UPnP": mapper.services.has(Protocol.UPNP),
        "PMP": mapper.services.has(Protocol.NATPMP),
        "PCP": mapper.services.has(Protocol.PCP),
        "Router": way.router if isinstance(way, ByUpnp) else "",
        "Protocol": held.way.protocol.value if held is not None else "",
        "External": str(held.external) if held is not None else "",
        "Advertised": held is not None and advertised,
        "LifetimeSeconds": held.granted.lifetime if held is not None else 0,
        "RemainingSeconds": max(0, round(held.ends_at - now)) if held is not None else 0,
        "RenewInSeconds": max(0, round(held.renew_at - now)) if held is not None else 0,
        "DoubleNAT": held is not None and is_private(held.granted.external),
        "Problem": mapper.problem,
        "Drops": dict(mapper.drops),
    }


def lines(view: dict[str, Any]) -> list[str]:
    """The same in words."""
    if not view["Gateway"]:
        return [f"no port is mapped: {view['Problem'] or NO_ROUTER}"]
    found = [name for name, member in (("PCP", "PCP"), ("NAT-PMP", "PMP"), ("UPnP", "UPnP")) if view[member]]
    said = [
        f"Router:   {view['Gateway']} on {view['Interface']}" + (f" ({view['Router']})" if view["Router"] else ""),
        f"Speaks:   {', '.join(found) or 'neither PCP nor NAT-PMP nor UPnP'}",
    ]
    if not view["External"]:
        problem = view["Problem"] or "the router has not answered yet"
        return [*said, f"no port is mapped: {problem}; it is for the router's settings to allow it"]
    said.append(f"Mapping:  {view['External']} -> {view['Internal']} by {view['Protocol']}")
    said.append(
        f"Lifetime: {view['LifetimeSeconds']} s, {view['RemainingSeconds']} s remain, "
        f"renewed in {view['RenewInSeconds']} s"
    )
    if not view["Advertised"]:
        said.append("Not told to peers: relays see this machine at another address, so it is not ours")
    elif view["DoubleNAT"]:
        said.append("The address is private: another NAT stands before the router, and the mapping ends there")
    return said
