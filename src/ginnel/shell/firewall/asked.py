"""What `verify` is to try: the daemon's mesh, a coordination server's, or the relays of a map that the user names.

Room: shell. As `facts.py`, with what a plan does not need: how certificates are judged, the server's key, the peers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ginnel.core.firewall.certificate import printable
from ginnel.core.firewall.hosts import saas_hosts
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.report import Around, Peer
from ginnel.core.firewall.told import RANDOMIZE, Told, told_by_attributes, told_by_headers
from ginnel.core.firewall.tried import TUNNEL_PORT, Asked, Server
from ginnel.shell.firewall.facts import SAAS_MAP, FactsError, Wish, own_port
from ginnel.shell.node.state import Prefs, server_pins
from ginnel.shell.relay_map import DEFAULT_MAP, MapError, Place, parse_map, read_map
from ginnel.wire.derpmap import PIN
from ginnel.wire.tailcfg import DERPMap, encode
from ginnel.words import MachineKey

Daemon = Callable[[str], Any]
"""GET of the local API by name: the answer's JSON."""


async def gather(wish: Wish, daemon: Daemon) -> Asked:
    """Raises FactsError, and whatever `daemon` raises."""
    try:
        return await _gather(wish, daemon)
    except MapError as error:
        raise FactsError(str(error)) from None


async def _gather(wish: Wish, daemon: Daemon) -> Asked:
    port = TUNNEL_PORT if wish.port is None else wish.port or None
    if wish.mesh == "tailscale-saas":
        found = await read_map(Place(wish.derp_map or SAAS_MAP, wish.pin))
        servers = tuple(Server(host.role, f"https://{host.name}") for host in saas_hosts())
        return Asked(found.derp_map, servers, port, (), wish.source, around_map(found.derp_map))
    if wish.server:
        found = await read_map(Place(wish.derp_map or wish.server + DEFAULT_MAP, wish.pin))
        vouched = frozenset({wish.pin.removeprefix(PIN).lower()}) if wish.pin else frozenset[str]()
        servers = _servers(wish.server, told_by_headers(found.headers), None, vouched)
        return Asked(found.derp_map, servers, port, (), wish.source, around_map(found.derp_map))
    if wish.derp_map:
        found = await read_map(Place(wish.derp_map, wish.pin))
        return Asked(found.derp_map, (), port, (), wish.source, around_map(found.derp_map))
    return by_daemon(daemon, wish.port)


def by_daemon(daemon: Daemon, port: int | None = None) -> Asked:
    """Everything that the daemon knows. Raises FactsError, and whatever `daemon` raises."""
    status = _members(daemon("status"))
    prefs = _prefs(daemon("prefs"))
    try:
        derp_map = parse_map(encode(_members(daemon("derpmap"))), "the daemon")
    except MapError:
        raise FactsError(
            "the daemon has no DERP map yet: run `ginnel up`, or name a server with --server URL"
        ) from None
    attributes = _members(_members(status.get("Self")).get("CapMap"))
    own, _ = own_port(_members(daemon("debug-inside")))
    own = None if RANDOMIZE in attributes else own
    told = told_by_attributes(attributes)
    servers = _servers(prefs.control_url, told, prefs.pinned_key(), server_pins(prefs, derp_map))
    around = around_status(derp_map, status)
    return Asked(derp_map, servers, own if port is None else port or None, (), "the daemon's mesh", around)


def _prefs(answer: Any) -> Prefs:
    try:
        return msgspec.convert(answer, Prefs)
    except msgspec.ValidationError:
        raise FactsError("the daemon gave an answer that is not understood; are both of the same version?") from None


def _servers(url: str, told: Told, key: MachineKey | None, vouched: frozenset[str]) -> tuple[Server, ...]:
    if not url:
        return ()
    logs = (Server(Role.LOG, f"https://{name}", pins=vouched) for name in told.logs)
    return (Server(Role.CONTROL, url, key, vouched), *logs)


def around_map(derp_map: DERPMap) -> Around:
    return Around({number: region.region_name for number, region in (derp_map.regions or {}).items() if region})


def around_status(derp_map: DERPMap, status: Mapping[str, Any]) -> Around:
    """status: the local API's, whose machines name their home by its region's code."""
    regions = {region.region_code: number for number, region in (derp_map.regions or {}).items() if region}
    peers = tuple(
        Peer(name, regions[code])
        for peer in _members(status.get("Peer")).values()
        if (code := str(_members(peer).get("Relay") or "")) in regions and (name := _name(_members(peer)))
    )
    home = regions.get(str(_members(status.get("Self")).get("Relay") or ""), 0)
    return Around(around_map(derp_map).region_names, peers, home)


def _name(peer: Mapping[str, Any]) -> str:
    return printable(str(peer.get("DNSName") or "").partition(".")[0] or str(peer.get("HostName") or ""))


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
