"""The plan: what a firewall must let through for this mesh, why, and what a user sees where it does not.

Room: core. The rules are those of Tailscale's answer to "what firewall ports should I open?" (tailscale.com/kb), with
the ports that this mesh really uses. `recommended` names no destinations, since the set of relays grows; `pinned` names
them, and is stale some day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from ginnel.core.firewall import texts
from ginnel.core.firewall.hosts import PORTAL, Trust
from ginnel.core.firewall.needs import Host, Need, Plan, Profile, Role, Service
from ginnel.wire.derpmap import DERP_PORT, STUN_PORT
from ginnel.words import WallTime

TUNNEL_PORT = 41641
PINNED_DAYS = 30
"""After so many days pinned destinations are called stale."""
OTHER_PORTS = 16
"""A map that names more ports than that besides the usual ones does not open them all."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a mesh. `port`: the daemon's own, in use or configured; None: another at each start.
    `randomize`: the policy's randomizeClientPort, which overrides it. `made`: when this was learnt. `problems`: lines
    that must stand beside whatever is made of the facts. `trust`: by which the hosts' addresses were judged."""

    hosts: tuple[Host, ...]
    source: str
    made: WallTime
    port: int | None = TUNNEL_PORT
    randomize: bool = False
    problems: tuple[str, ...] = ()
    trust: Trust = field(default_factory=Trust)

    @property
    def fixed_port(self) -> int | None:
        """The tunnel's port where rules may name it."""
        return None if self.randomize else self.port


def plan(facts: Facts, profile: Profile = "recommended") -> Plan:
    """The needs in the order of the FAQ, further ports behind the usual one of their kind. A need that nothing
    here has any use for is left out, and so is a pinned one without destinations: no destinations mean everywhere."""
    chosen = _Needs(facts, pinned=profile == "pinned")
    needs = (*chosen.https(), chosen.tunnel(), *chosen.stun(), *chosen.portal(), *chosen.inbound())
    warnings = (*((texts.PINNED,) if chosen.pinned else ()), *chosen.warnings(), *facts.problems)
    return Plan(profile, needs, facts.source, warnings, refresh_by(facts.made) if chosen.pinned else "")


def refresh_by(made: WallTime) -> str:
    """RFC 3339 date."""
    return (datetime.fromtimestamp(made, UTC) + timedelta(days=PINNED_DAYS)).date().isoformat()


@dataclass(frozen=True, slots=True)
class _Needs:
    facts: Facts
    pinned: bool

    def https(self) -> Iterator[Need]:
        """443 in any case: the next relay will have it."""
        for port in self._ports("tcp", DERP_PORT):
            hosts = self._with(Service("tcp", port), portal=False)
            yield from self._out("https", Service("tcp", port), DERP_PORT, hosts, texts.HTTPS, anyway=port == DERP_PORT)

    def stun(self) -> Iterator[Need]:
        """None where the map says that no relay answers."""
        for port in self._ports("udp", STUN_PORT):
            hosts = self._with(Service("udp", port), portal=False)
            yield from self._out("stun", Service("udp", port), STUN_PORT, hosts, texts.STUN)

    def portal(self) -> Iterator[Need]:
        hosts = self._with(PORTAL, portal=True)
        yield from self._out("portal", PORTAL, PORTAL.port, hosts, texts.PORTAL, optional=True)

    def tunnel(self) -> Need:
        words = texts.TUNNEL if self.facts.fixed_port is not None else texts.TUNNEL_ANY_PORT
        return _worded(Need("tunnel", "out", "udp", self.facts.fixed_port, None), words)

    def inbound(self) -> Iterator[Need]:
        if self.facts.fixed_port is not None:
            yield _worded(Need("tunnel-in", "in", "udp", None, self.facts.fixed_port, optional=True), texts.TUNNEL_IN)

    def warnings(self) -> Iterator[str]:
        if self.facts.randomize:
            yield texts.RANDOMIZED
        elif self.facts.port is None:
            yield texts.NO_PORT
        for transport, usual in (("tcp", DERP_PORT), ("udp", STUN_PORT)):
            if len(_other_ports(self.facts.hosts, transport, usual)) > OTHER_PORTS:
                yield texts.TOO_MANY_PORTS.format(transport=transport, usual=usual, limit=OTHER_PORTS)

    def _ports(self, transport: str, usual: int) -> tuple[int, ...]:
        return usual, *_other_ports(self.facts.hosts, transport, usual)[:OTHER_PORTS]

    def _with(self, service: Service, *, portal: bool) -> tuple[Host, ...]:
        hosts = self.facts.hosts
        return tuple(host for host in hosts if service in host.services and _is_portal(host, service) is portal)

    def _out(
        self, name: str, service: Service, usual: int, hosts: tuple[Host, ...], words: texts.Words,
        *, anyway: bool = False, optional: bool = False,
    ) -> Iterator[Need]:  # fmt: skip
        """`anyway`: also where no host that is known now has any use for it."""
        unknown = not any(host.role is Role.RELAY for host in self.facts.hosts)
        if hosts or (not self.pinned and (anyway or unknown)):
            named = name if service.port == usual else f"{name}-{service.port}"
            to = hosts if self.pinned else ()
            words = words if named == name else texts.OTHER_PORT
            need = Need(named, "out", service.transport, None, service.port, to, optional=optional)
            yield _worded(need, words, usual=name)


def _other_ports(hosts: tuple[Host, ...], transport: str, usual: int) -> list[int]:
    """Those that something else than the usual rules needs, the most wanted first."""
    counts: dict[int, int] = {}
    for host in hosts:
        for service in host.services:
            if service.transport == transport and service.port != usual and not _is_portal(host, service):
                counts[service.port] = counts.get(service.port, 0) + 1
    return sorted(counts, key=lambda port: (-counts[port], port))


def _is_portal(host: Host, service: Service) -> bool:
    return service == PORTAL and host.role is Role.RELAY


def _worded(need: Need, words: texts.Words, usual: str = "") -> Need:
    port = need.source_port or need.port
    why, breaks, looks_like = (text.format(port=port, usual=usual) for text in words)
    return replace(need, why=why, breaks=breaks, looks_like=looks_like)
