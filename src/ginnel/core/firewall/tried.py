"""What is to be tried, taken from a DERP map and the names of a coordination server.

Room: core. The map is a stranger's: what is no name, no port or no address is left out here, and told.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from ipaddress import ip_address

from ginnel.core.firewall.certificate import printable
from ginnel.core.firewall.evidence import Ending, Evidence, Leaf, Step
from ginnel.core.firewall.needs import Role, Transport
from ginnel.core.firewall.report import Around, Target
from ginnel.core.node.control_url import legs
from ginnel.core.relay.identity import is_host
from ginnel.wire.derpmap import DERP_PORT, PIN, REGION_LIMIT, STUN_PORT
from ginnel.wire.tailcfg import DERPMap, DERPNode
from ginnel.words import IpAddress, MachineKey

TUNNEL_PORT = 41641
OWN_NAME = ip_address("127.0.1.1")  # Debian's own host name in /etc/hosts


@dataclass(frozen=True, slots=True)
class Server:
    """A host of the coordination server's own. url: http(s). key: of its Noise, if it is known. pins: SHA-256 in hex of
    certificates that are vouched for."""

    role: Role
    url: str
    key: MachineKey | None = None
    pins: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Asked:
    """All that `verify` tries. port: the tunnel's, None: another at each start. regions: these alone, () means all, and
    the servers too. source: where this is from."""

    derp_map: DERPMap
    servers: tuple[Server, ...] = ()
    port: int | None = TUNNEL_PORT
    regions: tuple[int, ...] = ()
    source: str = ""
    around: Around = field(default_factory=Around)


@dataclass(frozen=True, slots=True)
class RelayTarget:
    """A relay with a port for each kind of probe, 0: not tried. literals: its addresses by the map. named: whether
    clients have to ask DNS too."""

    node: DERPNode
    region: int
    region_code: str
    derp_port: int
    stun_port: int
    portal: bool
    literals: tuple[IpAddress, ...]
    named: tuple[int, ...]

    def target(self, kind: str, usual: int, port: int, transport: Transport) -> Target:
        need = kind if port == usual else f"{kind}-{port}"
        host, node = self.node.host_name, printable(self.node.name) or str(self.region)
        return Target(need, Role.RELAY, host, port, transport, node, self.region, self.region_code)

    @property
    def https(self) -> Target:
        return self.target("https", DERP_PORT, self.derp_port, "tcp")

    @property
    def stun(self) -> Target:
        return self.target("stun", STUN_PORT, self.stun_port, "udp")

    @property
    def port80(self) -> Target:
        return self.target("portal", 80, 80, "tcp")


def relays(asked: Asked) -> tuple[RelayTarget, ...]:
    """In the order of regions."""
    found: list[RelayTarget] = []
    for number, region in sorted((asked.derp_map.regions or {}).items()):
        if region is None or not 0 < number <= REGION_LIMIT or (asked.regions and number not in asked.regions):
            continue
        code = printable(region.region_code)
        found += [_relay(node, number, code) for node in region.nodes or () if is_host(node.host_name)]
    return tuple(found)


def _relay(node: DERPNode, region: int, code: str) -> RelayTarget:
    derp, stun = node.derp_port or DERP_PORT, node.stun_port or STUN_PORT
    host = literal(node.host_name)
    literals = [found for text in (node.ipv4, node.ipv6) if (found := literal(text)) is not None]
    if host is not None and host not in literals:
        literals.append(host)
    named = () if host is not None else tuple(v for v, text in ((4, node.ipv4), (6, node.ipv6)) if not text)
    return RelayTarget(
        node,
        region,
        code,
        derp if not node.stun_only and 0 < derp <= 0xFFFF else 0,
        stun if 0 < stun <= 0xFFFF else 0,
        node.can_port80,
        tuple(literals),
        named,
    )


def literal(text: str) -> IpAddress | None:
    """The address that a text is."""
    try:
        return ip_address(text) if "%" not in text else None
    except ValueError:
        return None


def servers(asked: Asked) -> Iterator[tuple[Server, Target]]:
    """Each host and port once, the coordination server's own first."""
    seen: set[tuple[str, int]] = set()
    for server in () if asked.regions else sorted(asked.servers, key=lambda one: one.role is not Role.CONTROL):
        way = legs(server.url)[0]
        if (way.host, way.port) not in seen:
            seen.add((way.host, way.port))
            need = "https" if way.port == DERP_PORT else f"https-{way.port}"
            yield server, Target(need, server.role, way.host, way.port)


def told_names(asked: Asked) -> dict[str, frozenset[IpAddress]]:
    """What the map says of host names, by which DNS is judged; also of servers that share a host with a relay."""
    told: dict[str, set[IpAddress]] = {}
    for relay in relays(asked):
        told.setdefault(relay.node.host_name.lower(), set()).update(relay.literals)
    return {name: frozenset(found) for name, found in told.items()}


def judged_name(evidence: Evidence, expected: frozenset[IpAddress]) -> Evidence:
    """An answer of DNS beside what is known: a lie where no address is the right one, or where it leads nowhere."""
    if not evidence.done:
        return evidence
    answered = [ip for ip in evidence.answered if ip != OWN_NAME]
    families = {ip.version for ip in expected} & {ip.version for ip in answered}
    wrong = [v for v in families if not any(ip in expected for ip in answered if ip.version == v)]
    dead = [ip for ip in answered if ip.is_unspecified or ip.is_loopback]
    lied = bool(families and len(wrong) == len(families)) or (
        dead == answered and bool(dead) and not set(dead) & expected
    )
    if not lied:
        return evidence
    told = tuple(sorted(expected, key=lambda ip: (ip.version, ip.packed)))
    return Evidence(Step.NAME, Ending.ANSWER, evidence.seconds, expected=told, answered=evidence.answered)


def vouched(leaf: Leaf, pins: frozenset[str]) -> bool:
    return leaf.pin.removeprefix(PIN) in pins


def with_own_certificate(evidence: Evidence, pins: frozenset[str]) -> Evidence:
    """A certificate that an invite or the map vouches for is the server's own, whoever signed it."""
    ours = evidence.leaf is not None and vouched(evidence.leaf, pins)
    return replace(evidence, problem="", pinned=True) if evidence.done and ours else evidence
