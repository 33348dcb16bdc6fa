"""NATs and firewalls as tables: which mapping a packet gets on its way out, what is let in (RFC 4787 §4, §5).

Room: testing. A NAT is one box between a private network and the outside; unsolicited packets to it are dropped, as
home routers do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from random import Random

from ginnel.words import Endpoint, Instant, IpAddress

UDP_TIMEOUT = 120.0


class Depends(Enum):
    """On what of the destination a mapping, or a filter's verdict, depends."""

    NOTHING = auto()
    ADDRESS = auto()
    ADDRESS_AND_PORT = auto()


@dataclass(frozen=True, slots=True)
class NatKind:
    """`keeps_port`: the outer port is the inner one where that is free; else it is random."""

    name: str
    mapping: Depends
    filtering: Depends
    keeps_port: bool = True
    udp_blocked: bool = False


EASY = NatKind("easy", Depends.NOTHING, Depends.ADDRESS_AND_PORT)
EASY_ADDRESS = NatKind("easy-address-dependent", Depends.NOTHING, Depends.ADDRESS)
FULL_CONE = NatKind("full-cone", Depends.NOTHING, Depends.NOTHING)
HARD = NatKind("hard-random", Depends.ADDRESS_AND_PORT, Depends.ADDRESS_AND_PORT, keeps_port=False)
UDP_BLOCKED = NatKind("udp-blocked", Depends.NOTHING, Depends.ADDRESS_AND_PORT, udp_blocked=True)

Scope = tuple[IpAddress | None, int]
"""The part of a destination that matters: nothing, an address, or address and port."""


def scope(depends: Depends, remote: Endpoint) -> Scope:
    match depends:
        case Depends.NOTHING:
            return None, 0
        case Depends.ADDRESS:
            return remote.ip, 0
        case Depends.ADDRESS_AND_PORT:
            return remote.ip, remote.port


@dataclass(slots=True)
class _Mapping:
    inner: Endpoint
    allowed: dict[Scope, Instant] = field(default_factory=dict)


class Nat:
    """`forwards`: outer port -> inner endpoint, set up by hand."""

    def __init__(
        self, kind: NatKind, outer: IpAddress, random: Random, forwards: Mapping[int, Endpoint] | None = None
    ) -> None:
        self.kind = kind
        self.outer = outer
        self.forwards = dict(forwards or {})
        self._random = random
        self._port_of: dict[tuple[Endpoint, Scope], int] = {}
        self._mappings: dict[int, _Mapping] = {}

    def outward(self, inner: Endpoint, remote: Endpoint, now: Instant) -> Endpoint | None:
        """The source that the outside sees; None: dropped."""
        if self.kind.udp_blocked:
            return None
        key = (inner, scope(self.kind.mapping, remote))
        port = self._port_of.get(key)
        if port is None or self._dead(port, now):
            port = self._port_of[key] = self._new_port(inner, now)
        mapping = self._mappings.setdefault(port, _Mapping(inner))
        mapping.allowed[scope(self.kind.filtering, remote)] = now
        return Endpoint(self.outer, port)

    def inward(self, port: int, remote: Endpoint, now: Instant) -> Endpoint | None:
        """Where a packet to our outer port goes; None: dropped."""
        if self.kind.udp_blocked:
            return None
        mapping = self._mappings.get(port)
        if mapping is not None:
            last = mapping.allowed.get(scope(self.kind.filtering, remote))
            if last is not None and now - last < UDP_TIMEOUT:
                return mapping.inner
        return self._forwarded(port, remote, now)

    def reboot(self) -> None:
        """Every mapping is lost."""
        self._port_of.clear()
        self._mappings.clear()

    def _forwarded(self, port: int, remote: Endpoint, now: Instant) -> Endpoint | None:
        """By hand; what answers goes out by the same port, as connection tracking does it."""
        inner = self.forwards.get(port)
        if inner is not None:
            self._port_of[inner, scope(self.kind.mapping, remote)] = port
            mapping = self._mappings.setdefault(port, _Mapping(inner))
            mapping.allowed[scope(self.kind.filtering, remote)] = now
        return inner

    def _dead(self, port: int, now: Instant) -> bool:
        mapping = self._mappings.get(port)
        return mapping is None or all(now - at >= UDP_TIMEOUT for at in mapping.allowed.values())

    def _new_port(self, inner: Endpoint, now: Instant) -> int:
        port = inner.port if self.kind.keeps_port else self._random.randrange(1024, 65536)
        while port in self.forwards or not self._dead(port, now):
            port = self._random.randrange(1024, 65536)
        self._mappings.pop(port, None)
        return port


class Firewall:
    """A host's own: what it did not ask for does not come in. `closed`: nothing passes either way."""

    def __init__(self, *, stateful: bool = False) -> None:
        self.stateful = stateful
        self.closed = False
        self._asked: dict[Endpoint, Instant] = {}

    def outward(self, remote: Endpoint, now: Instant) -> bool:
        self._asked[remote] = now
        return not self.closed

    def inward(self, remote: Endpoint, now: Instant) -> bool:
        if self.closed:
            return False
        return not self.stateful or now - self._asked.get(remote, Instant(float("-inf"))) < UDP_TIMEOUT
