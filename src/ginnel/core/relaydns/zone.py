"""The relays' zone as a function of the DERP map (RFC 1035 §3, RFC 2308 §5).

Room: core. `derp<N><letter>.ZONE` is one relay, `derp<N>-all.ZONE` all relays of a region: firewalls that take a DNS
name and fetch its addresses again and again need only those.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv6Address, ip_address
from itertools import count

from ginnel.wire.dns import AAAA, NS, SOA, A, name_of
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap, DERPNode, DERPRegion
from ginnel.words import IpAddress

MAX_TTL = 300
DEFAULT_TTL = 60
NEGATIVE_TTL = 60
"""How long a resolver may hold that a name is not there: a relay that joins must not be missed for longer."""
REFRESH, RETRY, EXPIRE = 300, 60, 7 * 86400
"""Of secondaries that missed a NOTIFY: they follow within REFRESH."""
ADDRESSES_PER_HOST = 16
"""What a host name of another zone may add: whoever runs that zone decides over no more of our answers."""

_NODE_NAME = re.compile(r"([0-9]+)([a-z]{1,2})")


@dataclass(frozen=True, slots=True)
class NameServer:
    """`name` with the last dot or without; `addresses`: its glue, needed where it lies inside the zone."""

    name: str
    addresses: tuple[IpAddress, ...] = ()


@dataclass(frozen=True, slots=True)
class ZoneSettings:
    """`zone`: its name. The first of `name_servers` is the primary."""

    zone: str
    name_servers: tuple[NameServer, ...]
    ttl: int = DEFAULT_TTL
    hostmaster: str = ""

    @property
    def origin(self) -> bytes:
        return name_of(self.zone).lower()


@dataclass(frozen=True, slots=True)
class HostAddresses:
    """What is known of a host name of another zone. None: not known, which is not the same as none."""

    v4: tuple[IPv4Address, ...] | None = None
    v6: tuple[IPv6Address, ...] | None = None


Hosts = Mapping[str, HostAddresses]
Name = bytes
"""Wire form, lower case."""


@dataclass(frozen=True, slots=True)
class RecordSet:
    """All records of a name and type. The rdata are of one size, where they are addresses; sorted, none twice."""

    ttl: int
    data: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Zone:
    """`unknown`: (name, type) pairs of which some address is not known now; what is there of them is true, yet nothing
    may be concluded from what is missing. `problems`: one line each, about relays that get no names."""

    origin: Name
    records: Mapping[Name, Mapping[int, RecordSet]]
    unknown: frozenset[tuple[Name, int]]
    problems: tuple[str, ...] = ()
    serial: int = 0
    negative_ttl: int = NEGATIVE_TTL
    answers: Mapping[Name, Mapping[int, tuple[bytes, int]]] = field(default_factory=dict, repr=False, compare=False)
    """For whoever answers: (the records behind a pointer to the question's name, how many)."""

    def relay_names(self) -> Iterator[tuple[Name, Mapping[int, RecordSet]]]:
        """What the map says: no apex, no name servers."""
        ours = len(self.origin)
        for name, sets in self.records.items():
            if name != self.origin and is_relay_name(name[:-ours]):
                yield name, sets

    def digest(self) -> str:
        """Of all that secondaries would see change, the serial aside."""
        made = hashlib.sha256(self.origin)
        for name, sets in sorted(self.records.items()):
            for rtype, found in sorted(sets.items()):
                data = [soa_without_serial(one) if rtype == SOA else one for one in found.data]
                made.update(repr((name, rtype, found.ttl, data)).encode())
        return made.hexdigest()

    def numbered(self, serial: int) -> Zone:
        """The same with this serial, and ready to answer."""
        apex = dict(self.records[self.origin])
        soa = apex[SOA].data[0]
        apex[SOA] = RecordSet(apex[SOA].ttl, (soa_without_serial(soa)[:-20] + serial.to_bytes(4, "big") + soa[-16:],))
        records = {**self.records, self.origin: apex}
        answers = {name: {t: (_answer(t, s), len(s.data)) for t, s in sets.items()} for name, sets in records.items()}
        return replace(self, records=records, serial=serial, answers=answers)


def soa_without_serial(data: bytes) -> bytes:
    return data[:-20] + bytes(4) + data[-16:]


def _answer(rtype: int, found: RecordSet) -> bytes:
    head = b"\xc0\x0c" + rtype.to_bytes(2, "big") + b"\x00\x01" + found.ttl.to_bytes(4, "big")
    return b"".join(head + len(data).to_bytes(2, "big") + data for data in found.data)


_RELAY_LABEL = re.compile(rb".derp[0-9]+(-all|[a-z]{1,2})", re.DOTALL)


def is_relay_name(relative: bytes) -> bool:
    """Whether a name, without its zone, is of the form that the map makes."""
    return _RELAY_LABEL.fullmatch(relative) is not None and relative[0] == len(relative) - 1


def zone_of(full_map: DERPMap, settings: ZoneSettings, hosts: Hosts | None = None) -> Zone:
    """The zone without a serial yet. `hosts`: addresses of what `hosts_to_resolve` names. Raises WireError for settings
    that are no names."""
    build = _Build(settings, hosts or {})
    build.apex()
    for number, region in sorted((full_map.regions or {}).items()):
        if region is not None:
            build.region(number, region)
    return build.done()


def hosts_to_resolve(full_map: DERPMap, settings: ZoneSettings) -> frozenset[str]:
    """Host names whose addresses only their own zones know. Ours are left out: we would ask ourselves."""
    nodes = (node for region in (full_map.regions or {}).values() if region for node in region.nodes or ())
    return frozenset(host_name(node) for node in nodes if _must_ask(node, settings.origin))


def host_name(node: DERPNode) -> str:
    return node.host_name.rstrip(".").lower()


def _must_ask(node: DERPNode, origin: Name) -> bool:
    if (node.ipv4 and node.ipv6) or _literal(node.host_name) is not None:
        return False
    return _outside(host_name(node), origin)


def _outside(host: str, origin: Name) -> bool:
    try:
        return not is_within(name_of(host).lower(), origin)
    except WireError:
        return False


def is_within(name: Name, origin: Name) -> bool:
    """Whether a name is the origin or below it: what stands before it has to be whole labels."""
    if not name.endswith(origin):
        return False
    at = 0
    while at < len(name) - len(origin):
        at += 1 + name[at]
    return at == len(name) - len(origin)


def _literal(text: str) -> IpAddress | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return None if isinstance(address, IPv6Address) and address.scope_id else address


@dataclass(slots=True)
class _Build:
    settings: ZoneSettings
    hosts: Hosts
    sets: dict[Name, dict[int, set[bytes]]] = field(default_factory=dict)
    unknown: set[tuple[Name, int]] = field(default_factory=set)
    problems: list[str] = field(default_factory=list)

    def apex(self) -> None:
        settings, origin = self.settings, self.settings.origin
        hostmaster = name_of(settings.hostmaster or f"hostmaster.{settings.zone}")
        servers = [name_of(server.name).lower() for server in settings.name_servers]
        timers = (0, REFRESH, RETRY, EXPIRE, NEGATIVE_TTL)
        soa = servers[0] + hostmaster + b"".join(timer.to_bytes(4, "big") for timer in timers)
        self.sets[origin] = {SOA: {soa}, NS: set(servers)}
        for name, server in zip(servers, settings.name_servers, strict=True):
            if is_within(name, origin):
                for address in server.addresses:
                    self._add(name, address)

    def region(self, number: int, region: DERPRegion) -> None:
        for label, node in labelled(number, region):
            names = [self._name(f"derp{label}"), self._name(f"derp{number}-all")]
            for rtype, addresses in ((A, self._addresses(node, 4)), (AAAA, self._addresses(node, 6))):
                for name in names:
                    self.sets.setdefault(name, {})
                    if addresses is None:
                        self.unknown.add((name, rtype))
                    for address in addresses or ():
                        self._add(name, address)

    def _name(self, label: str) -> Name:
        return bytes((len(label),)) + label.encode() + self.settings.origin

    def _add(self, name: Name, address: IpAddress) -> None:
        self.sets.setdefault(name, {}).setdefault(A if address.version == 4 else AAAA, set()).add(address.packed)

    def _addresses(self, node: DERPNode, version: int) -> Sequence[IpAddress] | None:
        """None: not known now. A text that is no address, as `none`, turns the family off (tailscale:
        tailcfg/derpmap.go)."""
        text = node.ipv4 if version == 4 else node.ipv6
        literal = _literal(text or node.host_name)
        if literal is not None:
            return [literal] if literal.version == version else []
        if text:
            return []
        host = host_name(node)
        if not _outside(host, self.settings.origin):
            self._tell(f"relay {node.name[:40]!r}: its host name {host[:80]!r} cannot be asked for: say its addresses")
            return None
        known = self.hosts.get(host, HostAddresses())
        found = known.v4 if version == 4 else known.v6
        return None if found is None else found[:ADDRESSES_PER_HOST]

    def _tell(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def done(self) -> Zone:
        ttl, origin = self.settings.ttl, self.settings.origin
        records: dict[Name, Mapping[int, RecordSet]] = {}
        for name, types in self.sets.items():
            records[name] = {rtype: RecordSet(ttl, tuple(sorted(data))) for rtype, data in types.items()}
            parent = name[1 + name[0] :] if name != origin else origin
            while parent != origin:  # names between: they are there, without records
                records.setdefault(parent, {})
                parent = parent[1 + parent[0] :]
        return Zone(origin, records, frozenset(self.unknown), tuple(self.problems))


def labelled(number: int, region: DERPRegion) -> Iterator[tuple[str, DERPNode]]:
    """Each relay with its `<N><letter>`: its own name where it has that form, the next free letter otherwise."""
    nodes = region.nodes or []
    own = [node.name if _has_its_form(node.name, number) else "" for node in nodes]
    taken = set(own)
    free = (label for index in count() if (label := f"{number}{letters(index)}") not in taken)
    given: set[str] = set()
    for label, node in zip(own, nodes, strict=True):
        chosen = label if label and label not in given else next(free)
        given.add(chosen)
        yield chosen, node


def _has_its_form(name: str, number: int) -> bool:
    found = _NODE_NAME.fullmatch(name)
    return found is not None and found[1] == str(number)


def letters(index: int) -> str:
    """a, b ... z, aa, ab ...: 702 of them, and then three letters."""
    text = ""
    index += 1
    while index:
        index, digit = divmod(index - 1, 26)
        text = chr(ord("a") + digit) + text
    return text
