"""NATs as tables: which mapping a packet gets on its way out, what is let in (RFC 4787 §4 to §6).

Room: testing. A NAT is one box between a private network and the outside; NATs stand behind each other where carriers
have one as well. Timeouts are Linux's (kernel: Documentation/networking/nf_conntrack-sysctl.rst): 30 s until a flow has
had an answer and has lived for 2 s, then `NatKind.idle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from random import Random

from ginnel.testing.firewall import UDP_TIMEOUT, UNANSWERED_IDLE, Flow
from ginnel.words import Endpoint, Instant, IpAddress

STUN_PORT = 3478
HOPS = 2  # from a network's last router to the middle of the internet
LOWEST_PORT, HIGHEST_PORT = 1024, 65535


class Depends(Enum):
    """On what of the destination a mapping, or a filter's verdict, depends."""

    NOTHING = auto()
    ADDRESS = auto()
    ADDRESS_AND_PORT = auto()


class Ports(Enum):
    """The outer port of a new mapping: the inner one where it is free, any, or the one after the last."""

    KEPT = auto()
    RANDOM = auto()
    SEQUENTIAL = auto()


class Udp(Enum):
    """What gets out at all. STUN_ONLY: a strict company's, that lets voice calls find their address and no more."""

    OPEN = auto()
    STUN_ONLY = auto()
    BLOCKED = auto()


@dataclass(frozen=True, slots=True)
class NatKind:
    """`hairpin`: inside hosts reach each other by outside addresses. `tracks_strays`: a plain Linux masquerade, which
    notes an unsolicited packet as a flow of its own for 30 s, so that no mapping towards its sender can have the port
    that it was sent to. `idle`: seconds after which a flow in both directions is forgotten."""

    name: str
    mapping: Depends
    filtering: Depends
    ports: Ports = Ports.KEPT
    udp: Udp = Udp.OPEN
    hairpin: bool = False
    tracks_strays: bool = False
    idle: float = UDP_TIMEOUT


PORT_DEPENDENT = Depends.ADDRESS_AND_PORT

EASY = NatKind("easy", Depends.NOTHING, PORT_DEPENDENT)
EASY_OTHER_PORT = NatKind("easy-other-port", Depends.NOTHING, PORT_DEPENDENT, Ports.RANDOM)
EASY_BARE = NatKind("easy-bare", PORT_DEPENDENT, PORT_DEPENDENT, tracks_strays=True)
EASY_ADDRESS = NatKind("easy-address-dependent", Depends.NOTHING, Depends.ADDRESS)
FULL_CONE = NatKind("full-cone", Depends.NOTHING, Depends.NOTHING)
HARD = NatKind("hard-random", PORT_DEPENDENT, PORT_DEPENDENT, Ports.RANDOM)
HARD_SEQUENTIAL = NatKind("hard-sequential", PORT_DEPENDENT, PORT_DEPENDENT, Ports.SEQUENTIAL)
UDP_BLOCKED = NatKind("udp-blocked", Depends.NOTHING, PORT_DEPENDENT, udp=Udp.BLOCKED)
STUN_ONLY = NatKind("stun-only", Depends.NOTHING, PORT_DEPENDENT, udp=Udp.STUN_ONLY)


def with_hairpin(kind: NatKind) -> NatKind:
    return replace(kind, hairpin=True)


def with_idle(kind: NatKind, seconds: float) -> NatKind:
    return replace(kind, idle=seconds)


Scope = tuple[IpAddress | None, int]
"""The part of a destination that matters: nothing, an address, or address and port."""
ANYWHERE: Scope = (None, 0)


def scope(depends: Depends, remote: Endpoint) -> Scope:
    match depends:
        case Depends.NOTHING:
            return ANYWHERE
        case Depends.ADDRESS:
            return remote.ip, 0
        case Depends.ADDRESS_AND_PORT:
            return remote.ip, remote.port


@dataclass(slots=True)
class _Mapping:
    """`flows`: by the scope of the filter; who is in one may send in. `until`: one of them lives so long; a search for
    a path makes thousands of them."""

    inner: Endpoint
    port: int
    flows: dict[Scope, Flow] = field(default_factory=dict)
    until: float = 0.0

    def sent(self, to: Scope, now: Instant, idle: float) -> None:
        flow = self.flows.get(to)
        if flow is None or not flow.alive(now, idle):
            flow = self.flows[to] = Flow(now, now)
        flow.last = now
        self.until = max(self.until, flow.until(idle))

    def heard(self, by: Scope, now: Instant, idle: float) -> bool:
        """Whether it may come in."""
        flow = self.flows.get(by)
        if flow is None or not flow.alive(now, idle):
            return False
        flow.last, flow.answered = now, True
        self.until = max(self.until, flow.until(idle))
        return True


@dataclass(slots=True)
class _LetIn:
    """What came in by a forwarded port, from `remote`; held by (inner, remote as the inner host sees it)."""

    remote: Endpoint
    port: int
    flow: Flow


class Nat:
    """`upstream`: the NAT in whose network this one's `outer` address is. `forwards`: outer port -> inner endpoint, set
    up by hand or asked for by a port-mapping protocol. `place`, `hops`: as a host's (network.py)."""

    def __init__(
        self,
        kind: NatKind,
        outer: IpAddress,
        random: Random,
        forwards: Mapping[int, Endpoint] | None = None,
        upstream: Nat | None = None,
    ) -> None:
        self.kind = kind
        self.outer = outer
        self.upstream = upstream
        self.place = 0.0
        self.hops = HOPS
        self.forwards = dict(forwards or {})
        self._random = random
        self._next = random.randrange(LOWEST_PORT, HIGHEST_PORT)
        self._by_inner: dict[tuple[Endpoint, Scope], _Mapping] = {}
        self._by_port: dict[tuple[int, Scope], _Mapping] = {}
        self._strays: dict[tuple[int, Endpoint], Instant] = {}
        self._let_in: dict[tuple[Endpoint, Endpoint], _LetIn] = {}
        self._let_out: dict[tuple[Endpoint, Endpoint], tuple[int, Instant]] = {}  # (inner, remote), by a mapping

    def outward(self, inner: Endpoint, remote: Endpoint, now: Instant) -> tuple[Endpoint, Endpoint] | None:
        """The source and the destination that the outside sees; None: dropped."""
        kind = self.kind
        if kind.udp is not Udp.OPEN and (kind.udp is Udp.BLOCKED or remote.port != STUN_PORT):
            return None
        if (let_in := self._let_in.get((inner, remote))) is not None and let_in.flow.alive(now, kind.idle):
            let_in.flow.last, let_in.flow.answered = now, True
            return Endpoint(self.outer, let_in.port), let_in.remote
        to = scope(kind.mapping, remote)
        mapping = self._by_inner.get((inner, to))
        if mapping is None or now >= mapping.until:
            mapping = self._new_mapping(inner, to, remote, now)
        mapping.sent(scope(kind.filtering, remote), now, kind.idle)
        self._let_out[inner, remote] = (mapping.port, now)
        return Endpoint(self.outer, mapping.port), remote

    def inward(self, port: int, remote: Endpoint, now: Instant) -> tuple[Endpoint, Endpoint] | None:
        """Where a packet to our outer port goes, and from where it seems to come there; None: dropped."""
        kind = self.kind
        if kind.udp is Udp.BLOCKED:
            return None
        mapping = self._by_port.get((port, scope(kind.mapping, remote)))
        if mapping is not None and mapping.heard(scope(kind.filtering, remote), now, kind.idle):
            return mapping.inner, remote
        if (inner := self.forwards.get(port)) is not None:
            return inner, self._forward(inner, port, remote, now)
        if kind.tracks_strays:
            self._strays[port, remote] = now
        return None

    def _forward(self, inner: Endpoint, port: int, remote: Endpoint, now: Instant) -> Endpoint:
        """The source that the inner host sees. Between two endpoints there is one flow: where one goes out by another
        port already, the remote gets another port in the eyes of the host (Linux: net/netfilter/nf_nat_core.c)."""
        for (to, seen), let_in in self._let_in.items():
            same = to == inner and (let_in.remote, let_in.port) == (remote, port)
            if same and let_in.flow.alive(now, self.kind.idle):
                let_in.flow.last = now
                return seen
        out = self._let_out.get((inner, remote))
        clash = out is not None and out[0] != port and now - out[1] < UNANSWERED_IDLE
        seen = Endpoint(remote.ip, self._any()) if clash else remote
        self._let_in[inner, seen] = _LetIn(remote, port, Flow(now, now))
        return seen

    def reboot(self) -> None:
        """Every mapping is lost; what was set up by hand is kept."""
        self._by_inner.clear()
        self._by_port.clear()
        self._strays.clear()
        self._let_in.clear()
        self._let_out.clear()

    def _new_mapping(self, inner: Endpoint, to: Scope, remote: Endpoint, now: Instant) -> _Mapping:
        port = self._port(inner, to, remote, now)
        mapping = self._by_inner[inner, to] = self._by_port[port, to] = _Mapping(inner, port)
        return mapping

    def _port(self, inner: Endpoint, to: Scope, remote: Endpoint, now: Instant) -> int:
        if self.kind.ports is Ports.SEQUENTIAL:
            port = self._next
        else:
            port = inner.port if self.kind.ports is Ports.KEPT else self._any()
        while self.forwards.get(port, inner) != inner or self._taken(port, to, remote, now):
            port = self._after(port) if self.kind.ports is Ports.SEQUENTIAL else self._any()
        self._next = self._after(port)
        return port

    def _taken(self, port: int, to: Scope, remote: Endpoint, now: Instant) -> bool:
        held = self._by_port.get((port, to))
        stray = self._strays.get((port, remote))
        return (held is not None and now < held.until) or (stray is not None and now - stray < UNANSWERED_IDLE)

    def _any(self) -> int:
        return self._random.randrange(LOWEST_PORT, HIGHEST_PORT + 1)

    @staticmethod
    def _after(port: int) -> int:
        return port + 1 if port < HIGHEST_PORT else LOWEST_PORT
