"""The facts of a plan: from the daemon, from a coordination server, or from a DERP map that the user names.

Room: shell. No host is asked but those that the user named: the daemon's server by way of the daemon, `--server`,
`--derp-map`, and the vendor's public map where its profile was asked for without another one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import urlsplit

from ginnel.core.firewall import texts
from ginnel.core.firewall.checked import IpNetwork, literal
from ginnel.core.firewall.hosts import Found, Trust, own_hosts, relays_of, saas_hosts
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.plan import TUNNEL_PORT, Facts
from ginnel.core.firewall.told import RANDOMIZE, Told, told_by_attributes, told_by_headers
from ginnel.shell.node.links import read_links
from ginnel.shell.relay_map import DEFAULT_MAP, MapError, Place, parse_map, read_map
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap, encode
from ginnel.words import IpAddress, WallTime

Mesh = Literal["self", "tailscale-saas"]
PREFS, RELAYS, STATUS, INSIDE = DAEMON_KNOWS = ("prefs", "derpmap", "status?peers=false", "debug-inside")
Daemon = Callable[[str], Any]
"""GET of the local API, by the names of DAEMON_KNOWS: the answer's JSON."""
SAAS_MAP = "https://login.tailscale.com/derpmap/default"


class FactsError(Exception):
    """One line for people: what is missing, why, what to do."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user named. `server`: URL of a coordination server; `derp_map`: URL or file, in place of the server's
    map; neither: the daemon's. `pin`: of the certificate where the map is fetched. `allowed`: networks that count
    although they are not public. `port`: of the tunnel in place of what the daemon has; 0: another at each start."""

    server: str = ""
    pin: str = ""
    derp_map: str = ""
    mesh: Mesh = "self"
    allowed: tuple[IpNetwork, ...] = ()
    port: int | None = None

    @property
    def needs_daemon(self) -> bool:
        return self.mesh == "self" and not self.server and not self.derp_map

    @property
    def source(self) -> str:
        """Where the facts are from, for people; the server's own name counts where its map is another's."""
        if self.mesh == "tailscale-saas":
            return self.derp_map or SAAS_MAP
        return " and ".join(place for place in (self.derp_map, self.server) if place)


async def gather(wish: Wish, daemon: Daemon, now: WallTime) -> Facts:
    """All that a plan is made of. Raises FactsError, and whatever `daemon` raises; never an empty answer."""
    try:
        facts = await _gather(wish, daemon, now)
    except MapError as error:
        raise FactsError(str(error)) from None
    if not any(host.role is Role.RELAY for host in facts.hosts):
        said = [problem for problem in facts.problems if problem != texts.NO_SERVER]
        why = "; ".join([*said[:3], *(["and so on"] if len(said) > 3 else [])]) or "its regions are empty"
        raise FactsError(
            f"{facts.source} names no relay that can be used: {why}. Addresses that are meant are allowed by "
            "--allow-address NETWORK, another map is named by --derp-map FILE"
        )
    return facts if wish.port is None else replace(facts, port=wish.port or None)


async def _gather(wish: Wish, daemon: Daemon, now: WallTime) -> Facts:
    trust = Trust(wish.allowed, own_addresses())
    if wish.mesh == "tailscale-saas":
        return await _saas(wish, trust, now)
    if wish.server:
        return await _by_server(wish, trust, now)
    if wish.derp_map:
        found = await read_map(Place(wish.derp_map, wish.pin))
        relays = relays_of(found.derp_map, zone=told_by_headers(found.headers).zone, trust=trust)
        return Facts(relays.hosts, wish.source, now, problems=(texts.NO_SERVER, *relays.problems), trust=trust)
    return _by_daemon(daemon, trust, now)


async def _saas(wish: Wish, trust: Trust, now: WallTime) -> Facts:
    found = await read_map(Place(wish.derp_map or SAAS_MAP, wish.pin))
    relays = relays_of(found.derp_map, trust=trust)
    hosts = saas_hosts() + relays.hosts
    return Facts(hosts, wish.source, now, problems=relays.problems, trust=trust)


async def _by_server(wish: Wish, trust: Trust, now: WallTime) -> Facts:
    found = await read_map(Place(wish.derp_map or wish.server + DEFAULT_MAP, wish.pin))
    return _facts(wish.server, found.derp_map, told_by_headers(found.headers), trust, Facts((), wish.source, now))


def _by_daemon(daemon: Daemon, trust: Trust, now: WallTime) -> Facts:
    server = str(_members(daemon(PREFS)).get("ControlURL") or "")
    derp_map = _map_of(daemon)
    itself = _members(_members(daemon(STATUS)).get("Self"))
    attributes = _members(itself.get("CapMap"))
    port, problems = own_port(_members(daemon(INSIDE)))
    blank = Facts((), "the daemon", now, port=port, randomize=RANDOMIZE in attributes, problems=problems)
    return _facts(server, derp_map, told_by_attributes(attributes), trust, blank)


def _map_of(daemon: Daemon) -> DERPMap:
    try:
        return parse_map(encode(_members(daemon(RELAYS))), "the daemon")
    except MapError:
        raise FactsError(
            "the daemon has no DERP map yet: run `ginnel up`, or name a server with --server URL"
        ) from None


def _facts(server: str, derp_map: DERPMap, told: Told, trust: Trust, blank: Facts) -> Facts:
    """An address in the server's own URL counts for its relay too."""
    host = urlsplit(server).hostname or ""
    known = literal(host)
    trust = replace(trust, known=frozenset() if known is None else frozenset({known}))
    relays = relays_of(derp_map, zone=told.zone, trust=trust)
    own = own_hosts(server, logs=told.logs) if server else Found(())
    problems = blank.problems + own.problems + relays.problems
    return replace(blank, hosts=own.hosts + relays.hosts, problems=problems, trust=trust)


def _members(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def own_port(inside: Mapping[str, Any]) -> tuple[int | None, tuple[str, ...]]:
    """The tunnel's port as rules may name it, and what there is to say of it. inside: `debug-inside`."""
    wanted = inside.get("Port")
    used = sorted({port for port in inside.get("Ports") or () if isinstance(port, int) and 0 < port <= 0xFFFF})
    if wanted == 0:
        return None, ()
    if not isinstance(wanted, int) or not used:
        return wanted if isinstance(wanted, int) else TUNNEL_PORT, ()
    if used == [wanted]:
        return wanted, ()
    said = " and ".join(map(str, used))
    told = f"UDP port {wanted} is taken by another program: the daemon uses {said} until it starts again"
    return (used[0] if len(used) == 1 else None), (told,)


def own_addresses() -> frozenset[IpAddress]:
    """Of this machine's interfaces; none where the kernel does not say."""
    try:
        return frozenset(found.address.ip for found in read_links("").addresses)
    except (OSError, WireError):
        return frozenset()
