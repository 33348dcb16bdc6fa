"""Our own endpoints: which addresses we advertise (tailscale: wgengine/magicsock/magicsock.go determineEndpoints).

Room: core.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv6Interface, IPv6Network

from ginnel.core.node.actions import EndpointType
from ginnel.core.node.addresses import in_tailnet, is_private
from ginnel.core.node.constants import ENDPOINT_KEPT, ENDPOINTS_PER_IP
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.portmap.judge import is_foreign
from ginnel.words import Endpoint, Instant, IpAddress

ADVERTISED_MAX = 32  # a call-me-maybe of ours holds no more; ginnel reads no more of others'
IPV6_PER_PREFIX = 2
SEEN_BY_SEVERAL = 2

OwnEndpoint = tuple[Endpoint, EndpointType]


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """An address of an interface that is up. The shell leaves out the tunnel's own interface."""

    interface: str
    address: IPv4Interface | IPv6Interface


class OwnEndpoints:
    """What we know of ourselves, and the list that follows from it. `ports`: of the IPv4 and IPv6 socket, 0: none."""

    def __init__(self, static: Sequence[Endpoint] = ()) -> None:
        self._static = tuple(static)
        self._local: tuple[LocalAddress, ...] = ()
        self._stun: dict[Endpoint, Instant] = {}
        self._kept: dict[Endpoint, tuple[EndpointType, Instant]] = {}
        self.port_mapped: Endpoint | None = None
        self.drops: Counter[str] = Counter()
        self._foreign: Endpoint | None = None
        self.port_v4 = 0
        self.port_v6 = 0
        self.configured_port = 0

    def interfaces_changed(self, addresses: Iterable[LocalAddress]) -> None:
        self._local = tuple(addresses)

    def port_bound(self, v4: int, v6: int, configured: int) -> None:
        """Other sockets have other mappings: what STUN said of the old ones is void."""
        if (v4, v6) != (self.port_v4, self.port_v6):
            self.forget_mappings()
        if v4 != self.port_v4:
            self.port_mapped_to(None)
        self.port_v4, self.port_v6, self.configured_port = v4, v6, configured

    def forget_mappings(self) -> None:
        self._stun.clear()
        self._kept.clear()

    def port_mapped_to(self, external: Endpoint | None) -> None:
        """The home router forwards this to us; None: it does not any more, and that is told at once."""
        if self.port_mapped is not None:
            self._kept.pop(self.port_mapped, None)
        self.port_mapped = external

    def believed_port_map(self) -> Endpoint | None:
        """Unless STUN servers say that the address is somebody else's."""
        mapped = self.port_mapped
        if mapped is None or not isinstance(mapped.ip, IPv4Address):
            return None
        if not is_foreign(mapped.ip, (seen.ip for seen in self._stun if isinstance(seen.ip, IPv4Address))):
            self._foreign = None
            return mapped
        if self._foreign != mapped:
            self._foreign = mapped
            self._kept.pop(mapped, None)
            self.drops["portmap.foreign_address"] += 1
        return None

    def seen(self, mapped: Endpoint, now: Instant) -> None:
        """A STUN server saw us there; counts until the report of the check is in."""
        self._stun[mapped] = now

    def checked(self, report: Report, now: Instant) -> None:
        """The report decides: the first IPv4 and the latest IPv6 address, and others seen by several servers."""
        chosen = [endpoint for endpoint in (report.global_v4, report.global_v6) if endpoint is not None]
        counted = Counter(report.counters_v4) + Counter(report.counters_v6)
        chosen += [endpoint for endpoint, times in counted.items() if times >= SEEN_BY_SEVERAL]
        if report.udp:
            self._stun = dict.fromkeys(chosen, now)

    @property
    def ports_known(self) -> bool:
        return bool(self.port_v4 or self.port_v6)

    def own_ips(self) -> frozenset[IpAddress]:
        """Of this machine, loopback and all."""
        return frozenset(local.address.ip for local in self._local)

    def ip_versions(self) -> tuple[int, ...]:
        """Those with a socket and, for IPv6, an address that may lead outside."""
        routable = any(ip.version == 6 and not ip.is_loopback for ip in local_ips(self._local))
        return (*((4,) if self.port_v4 else ()), *((6,) if self.port_v6 and routable else ()))

    def gather(self, now: Instant) -> tuple[OwnEndpoint, ...]:
        """Best first, each once, with the type it was found by first."""
        found: dict[Endpoint, EndpointType] = {}
        self._stun = {mapped: at for mapped, at in self._stun.items() if now - at < ENDPOINT_KEPT}
        for endpoint, kind in self._current():
            found.setdefault(endpoint, kind)
        of_ip = Counter(endpoint.ip for endpoint in found)
        self._keep(found, now)
        for endpoint, (kind, _) in sorted(self._kept.items(), key=lambda item: -item[1][1]):
            if endpoint not in found and of_ip[endpoint.ip] < ENDPOINTS_PER_IP:
                of_ip[endpoint.ip] += 1
                found[endpoint] = kind
        return tuple(found.items())[:ADVERTISED_MAX]

    def _current(self) -> Iterable[OwnEndpoint]:
        if (mapped := self.believed_port_map()) is not None:
            yield mapped, EndpointType.PORTMAPPED
        for mapped in self._stun:
            yield mapped, EndpointType.STUN
        yield from self._with_local_port()
        for endpoint in self._static:
            yield endpoint, EndpointType.EXPLICIT
        for ip in local_ips(self._local):
            if port := self.port_v4 if ip.version == 4 else self.port_v6:
                yield Endpoint(ip, port), EndpointType.LOCAL

    def _with_local_port(self) -> Iterable[OwnEndpoint]:
        """Behind a NAT that changes our port, somebody may have opened the local one: always worth a candidate. That
        the NAT is hard cannot be known with one STUN server, so it is not asked."""
        for mapped in self._stun:
            if mapped.is_v4 and self.port_v4 and mapped.port != self.port_v4:
                yield Endpoint(mapped.ip, self.port_v4), EndpointType.STUN_WITH_LOCAL_PORT

    def _keep(self, found: dict[Endpoint, EndpointType], now: Instant) -> None:
        """STUN's answers stay advertised for a while: a NAT may hold the mapping longer than a server sees it."""
        for endpoint, kind in found.items():
            if kind in (EndpointType.STUN, EndpointType.PORTMAPPED, EndpointType.STUN_WITH_LOCAL_PORT):
                self._kept[endpoint] = (kind, self._stun.get(endpoint, now))
        self._kept = {e: (kind, at) for e, (kind, at) in self._kept.items() if now - at < ENDPOINT_KEPT}


def local_ips(addresses: Iterable[LocalAddress]) -> list[IpAddress]:
    """Those worth advertising: regular ones, else unique local IPv6 and link-local IPv4, else loopback."""
    regular: dict[IpAddress, None] = {}
    fallback: dict[IpAddress, None] = {}
    loopback: dict[IpAddress, None] = {}
    of_prefix: Counter[tuple[str, IPv6Network]] = Counter()
    for local in addresses:
        ip = local.address.ip
        if in_tailnet(ip) or ip.is_multicast or ip.is_unspecified:
            continue
        if ip.is_loopback:
            loopback[ip] = None
        elif isinstance(local.address, IPv6Interface):
            if ip.is_link_local:
                continue
            if is_private(ip):
                fallback[ip] = None
            elif of_prefix[local.interface, local.address.network] < IPV6_PER_PREFIX:
                of_prefix[local.interface, local.address.network] += 1
                regular[ip] = None
        elif isinstance(ip, IPv4Address) and ip.is_link_local:
            fallback[ip] = None
        else:
            regular[ip] = None
    return list(regular or fallback or loopback)
