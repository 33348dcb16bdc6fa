"""The hosts of a mesh: relays from a DERP map that a stranger wrote, and the coordination server's own names.

Room: core. Clients dial a relay at the map's addresses or its host name, and put the host name into TLS; a region's
`derpN-all` name is in no client (tailscale: derp/derphttp/derphttp_client.go): it stands for the region's addresses,
for firewalls that fetch those by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from ginnel.core.firewall.checked import IpNetwork, Refused, by_family, checked_address, checked_name, literal, tidy
from ginnel.core.firewall.needs import Host, Level, Role, Service, Stability
from ginnel.core.node.control_url import legs
from ginnel.wire.derpmap import DERP_PORT, REGION_LIMIT, STUN_PORT
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import IpAddress

PORTAL = Service("tcp", 80)
PROBLEMS_SHOWN = 20
_NODE_NAME = re.compile(r"derp([0-9]+)[a-z]{1,2}\.([^.]+\..+)")

CONTROL_USE = "log-in, key exchange, changes of the policy and of who is on the mesh"
CONTROL_BREAKS = "no machine can log in; running tunnels go on, without news of other machines or of the policy"
LOGIN_USE = "signing in with a browser, the admin's console"
LOGIN_BREAKS = "nobody can sign in to add a machine or to renew its key"
LOG_USE = "clients' logs, for support; clients run without"
LOG_BREAKS = "logs are missing; clients started with --no-logs-no-support do not upload any"
RELAY_USE = "relayed traffic, and finding direct paths, with machines whose home is region {region}"
RELAY_BREAKS = (
    "machines whose home is region {region} cannot be reached, others can: apparently random pairs lose contact"
)


@dataclass(frozen=True, slots=True)
class Trust:
    """What of the map counts all the same. `allowed`: networks that are not public; `known`: addresses that the user
    named; `own`: this machine's, refused unless allowed or known."""

    allowed: tuple[IpNetwork, ...] = ()
    own: frozenset[IpAddress] = frozenset()
    known: frozenset[IpAddress] = frozenset()

    def address(self, found: IpAddress) -> IpAddress:
        return found if found in self.known else checked_address(found, allowed=self.allowed, own=self.own)


@dataclass(frozen=True, slots=True)
class Found:
    """`problems`: one line for each thing that was refused, at most PROBLEMS_SHOWN and one that counts the rest."""

    hosts: tuple[Host, ...]
    problems: tuple[str, ...] = ()


def hosts_of(derp_map: DERPMap, *, zone: str = "", trust: Trust | None = None) -> tuple[Host, ...]:
    """`relays_of` without the problems."""
    return relays_of(derp_map, zone=zone, trust=trust).hosts


def relays_of(derp_map: DERPMap, *, zone: str = "", trust: Trust | None = None) -> Found:
    """The relays by region: the region's `derpN-all` name (level L3), then each relay (level SNI). `zone`: where the
    server says that the `-all` names are; without it they are known where all relays of a region are called
    `derpN<letter>.ZONE`. Regions that were taken out of the map (null) are skipped, and so is what cannot be trusted.
    """
    read = _Reading(trust or Trust())
    zone = read.zone(zone)
    hosts: list[Host] = []
    for number, region in sorted((derp_map.regions or {}).items()):
        if region is not None:
            hosts += read.region(number, region, zone)
    return Found(tuple(hosts), read.told())


def for_level(hosts: Iterable[Host], level: Level) -> tuple[Host, ...]:
    """Those that a firewall of this kind needs. SNI: all names that clients put into TLS. L3: `-all` names in place of
    a region's relays, where there is one."""
    every = tuple(hosts)
    if level is Level.SNI:
        return tuple(host for host in every if host.level is Level.SNI)
    covered = {host.region for host in every if host.level is Level.L3}
    return tuple(host for host in every if host.level is Level.L3 or host.region not in covered)


@dataclass(slots=True)
class _Reading:
    trust: Trust
    problems: list[str] = field(default_factory=list)
    untold: int = 0

    def tell(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_SHOWN:
            self.problems.append(problem)
        else:
            self.untold += 1

    def told(self) -> tuple[str, ...]:
        return (*self.problems, *([f"and {self.untold} more like these"] if self.untold else ()))

    def zone(self, text: str) -> str:
        try:
            return checked_name(f"derp{REGION_LIMIT}-all.{text}").partition(".")[2] if text else ""
        except Refused as error:
            self.tell(f"the zone of the relays' names is left out: {error}")
            return ""

    def region(self, number: int, region: DERPRegion, zone: str) -> Iterator[Host]:
        if not 0 < number <= REGION_LIMIT:
            self.tell(f"region {number} is left out: expected a number between 1 and {REGION_LIMIT}")
            return
        code = tidy(region.region_code, str(number))
        relays = [relay for at, node in enumerate(region.nodes or ()) if (relay := self.node(number, code, node, at))]
        zone = zone or (zone_of_names(number, relays) if len(relays) == len(region.nodes or ()) else "")
        if zone and relays:
            yield _all_of(number, zone, relays)
        yield from relays

    def node(self, region: int, code: str, node: DERPNode, at: int) -> Host | None:
        name = tidy(node.name, f"{region}-{at + 1}")
        try:
            return self.relay(region, code, node, name)
        except Refused as error:
            self.tell(f"relay {name} of region {region} is left out: {error}")
            return None

    def relay(self, region: int, code: str, node: DERPNode, name: str) -> Host | None:
        own = literal(node.host_name)
        host = "" if own is not None else checked_name(node.host_name)
        services = _services(node)
        if not services:
            return None
        written = [own, *(literal(text) for text in (node.ipv4, node.ipv6, node.stun_test_ip))]
        addresses = sorted({self.trust.address(found) for found in written if found is not None}, key=by_family)
        use, breaks = RELAY_USE.format(region=region), RELAY_BREAKS.format(region=region)
        return Host(
            host, Level.SNI, Role.RELAY, services, tuple(addresses), Stability.FAST, region, code, name, use, breaks
        )


def _services(node: DERPNode) -> tuple[Service, ...]:
    """What clients use of a relay. Raises Refused for a port that is none."""
    if not 0 <= node.derp_port <= 0xFFFF or not -1 <= node.stun_port <= 0xFFFF:
        raise Refused("its ports are no ports")
    found = [] if node.stun_only else [Service("tcp", node.derp_port or DERP_PORT)]
    if node.stun_port != -1:
        found.append(Service("udp", node.stun_port or STUN_PORT))
    if node.can_port80 and PORTAL not in found:
        found.append(PORTAL)
    return tuple(found)


def zone_of_names(number: int, relays: Sequence[Host]) -> str:
    """The zone in which all of a region's relays are called `derpN<letter>`, "" where they are not."""
    matches = [_NODE_NAME.fullmatch(relay.name) for relay in relays]
    zones = {match[2] if match and match[1] == str(number) else "" for match in matches}
    return zones.pop() if len(zones) == 1 else ""


def _all_of(number: int, zone: str, relays: Sequence[Host]) -> Host:
    services = dict.fromkeys(service for relay in relays for service in relay.services)
    addresses = sorted({address for relay in relays for address in relay.addresses}, key=by_family)
    return replace(
        relays[0],
        name=f"derp{number}-all.{zone}",
        level=Level.L3,
        services=tuple(services),
        addresses=tuple(addresses),
        node="",
    )


# --- the coordination server's own names -----------------------------------------------------------------------------


def own_hosts(control_url: str, *, logins: Sequence[str] = (), logs: Sequence[str] = ()) -> Found:
    """The server's hosts, each once. `control_url`: as the user gave it, so that a private address in it counts;
    `logins`, `logs`: further URLs or host names."""
    read = _Reading(Trust())
    hosts: dict[str, Host] = {}
    for role, places in ((Role.CONTROL, (control_url,)), (Role.LOGIN, logins), (Role.LOG, logs)):
        for place in places:
            found = _own(read, role, place if "://" in place else f"https://{place}") if place else None
            if found is not None:
                key = found.name or str(found.addresses)
                hosts[key] = _together(hosts[key], found) if key in hosts else found
    return Found(tuple(hosts.values()), read.told())


def _own(read: _Reading, role: Role, url: str) -> Host | None:
    try:
        ways = legs(url)
        address = literal(ways[0].host)
        name = "" if address is not None else checked_name(ways[0].host)
    except ValueError as error:
        read.tell(f"the {role} host is left out: {error}")
        return None
    services = tuple(Service("tcp", way.port) for way in ways)
    addresses = () if address is None else (address,)
    use, breaks = _USES[role]
    return Host(name, Level.SNI, role, services, addresses, needed_for=use, breaks=breaks)


def _together(first: Host, second: Host) -> Host:
    """One host of two roles, or of two ports."""
    services = tuple(dict.fromkeys(first.services + second.services))
    if first.role is second.role:
        return replace(first, services=services)
    return replace(
        first,
        services=services,
        needed_for=f"{first.needed_for}; {second.needed_for}",
        breaks=f"{first.breaks}; {second.breaks}",
    )


_USES = {
    Role.CONTROL: (CONTROL_USE, CONTROL_BREAKS),
    Role.LOGIN: (LOGIN_USE, LOGIN_BREAKS),
    Role.LOG: (LOG_USE, LOG_BREAKS),
}


def saas_hosts() -> tuple[Host, ...]:
    """Tailscale's own service (tailscale.com/kb: what firewall ports should I open?): these four names."""
    named = (
        ("login.tailscale.com", Role.LOGIN),
        ("controlplane.tailscale.com", Role.CONTROL),
        ("log.tailscale.com", Role.LOG),
        ("log.tailscale.io", Role.LOG),
    )
    https = (Service("tcp", DERP_PORT),)
    return tuple(
        Host(name, Level.SNI, role, https, needed_for=_USES[role][0], breaks=_USES[role][1]) for name, role in named
    )
