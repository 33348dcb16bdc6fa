"""The UDP network between simulated hosts: addresses, NATs on the way, latency, loss, reordering, duplicates.

Room: testing. IPv4 is planes in planes: the internet, and behind each NAT a plane of its own, whose addresses other
planes may use as well. IPv6 is one plane.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from random import Random

from ginnel.testing.clock import VirtualClock
from ginnel.testing.firewall import Firewall
from ginnel.testing.nat import HOPS, Nat
from ginnel.words import Endpoint, IpAddress

Deliver = Callable[[Endpoint, bytes], None]
"""(source, packet), to a bound socket."""
LAN_DELAY = 0.0005


@dataclass(slots=True, eq=False)
class Host:
    """A machine with one IPv4 address and perhaps an IPv6 one, behind `nat` for IPv4 if there is one. `place`: where on
    a line, in seconds: so much longer packets take one way between two places. `hops`: routers between it, or the NAT
    in front of it, and the middle of the internet."""

    name: str
    v4: IpAddress | None
    v6: IpAddress | None = None
    nat: Nat | None = None
    firewall: Firewall = field(default_factory=Firewall)
    sockets: dict[int, Deliver] = field(default_factory=dict)
    place: float = 0.0
    hops: int = HOPS
    asleep: bool = False

    def address(self, version: int) -> IpAddress | None:
        return self.v4 if version == 4 else self.v6


Plane = dict[IpAddress, Host | Nat]
UNLIMITED = 255


@dataclass(slots=True)
class _Packet:
    """Addresses as they are where it is now. `ttl`: hops that it may still go."""

    host: Host
    source: Endpoint
    to: Endpoint
    payload: bytes
    ttl: int


class Network:
    """`latency`: one way, seconds; a random part up to `jitter` is added, so packets overtake each other. `loss`,
    `duplicates`: of each packet that crosses the internet. `holes`: pairs of host names, where nothing passes."""

    def __init__(
        self,
        clock: VirtualClock,
        random: Random,
        *,
        latency: float,
        jitter: float = 0.0,
        loss: float = 0.0,
        duplicates: float = 0.0,
    ) -> None:
        self.latency = latency
        self.jitter = jitter
        self.loss = loss
        self.duplicates = duplicates
        self.holes: set[frozenset[str]] = set()
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._random = random
        self._outside: Plane = {}
        self._inside: dict[Nat, Plane] = {}

    # --- who is where ---

    def add(self, host: Host) -> Host:
        if host.v4 is not None:
            if host.nat is not None:
                self.add_nat(host.nat)
            self._place(self._plane(host.nat), host.v4, host)
        if host.v6 is not None:
            self._place(self._outside, host.v6, host)
        return host

    def add_nat(self, nat: Nat) -> None:
        """And those that it stands behind."""
        if nat not in self._inside:
            self._inside[nat] = {}
            if nat.upstream is not None:
                self.add_nat(nat.upstream)
            self._place(self._plane(nat.upstream), nat.outer, nat)

    def move(self, host: Host, v4: IpAddress | None, nat: Nat | None, v6: IpAddress | None = None) -> None:
        """The host changes its network; sockets stay."""
        for plane in (self._outside, *self._inside.values()):
            for ip in [ip for ip, held in plane.items() if held is host]:
                del plane[ip]
        host.v4, host.nat, host.v6 = v4, nat, v6
        self.add(host)

    def crowded(self, nat: Nat) -> bool:
        """Whether several machines or routers are behind it."""
        return len(self._inside.get(nat, {})) > 1

    def free(self, nat: Nat | None, ip: IpAddress) -> bool:
        """Whether the address is nobody's in the plane behind that NAT."""
        return ip not in self._inside.get(nat, {}) if nat is not None else ip not in self._outside

    def _plane(self, nat: Nat | None) -> Plane:
        return self._outside if nat is None else self._inside[nat]

    @staticmethod
    def _place(plane: Plane, ip: IpAddress, held: Host | Nat) -> None:
        if plane.setdefault(ip, held) is not held:
            raise ValueError(f"two machines cannot share the address {ip} of one network")

    # --- packets ---

    def send(self, host: Host, port: int, to: Endpoint, packet: bytes, ttl: int = 0) -> bool:
        """`ttl`: hops that it may go, 0: as many as it takes. False: the host has no address of that family."""
        own = host.v4 if to.is_v4 else host.v6
        if own is None:
            return False
        self.counts["sent"] += 1
        if host.firewall.outward(to, self._clock.now):
            self._up(_Packet(host, Endpoint(own, port), to, packet, ttl or UNLIMITED), host.nat if to.is_v4 else None)
        else:
            self.counts["blocked"] += 1
        return True

    def _up(self, packet: _Packet, nat: Nat | None) -> None:
        """From plane to plane until one knows the address; each NAT on the way puts its own in the source's place."""
        now = self._clock.now
        border: Host | Nat = packet.host
        while nat is not None:
            neighbour = self._inside[nat].get(packet.to.ip)
            if neighbour is not None:
                self._clock.after(LAN_DELAY, self._down, packet, neighbour)
                return
            if not self._passes_router(packet, 1):
                return
            passed = nat.outward(packet.source, packet.to, now)
            if passed is None or (packet.to.ip == nat.outer and not nat.kind.hairpin):
                self.counts["blocked" if passed is None else "no_hairpin"] += 1
                return
            packet.source, packet.to = passed
            if packet.to.ip == nat.outer:
                self._clock.after(LAN_DELAY, self._down, packet, nat)
                return
            border, nat = nat, nat.upstream
        self._cross(packet, border, self._outside.get(packet.to.ip))

    def _passes_router(self, packet: _Packet, hops: int) -> bool:
        """A router that would have to send it on with nothing left drops it, and maps nothing (RFC 1812 §5.3.1)."""
        packet.ttl -= hops
        if packet.ttl <= 0:
            self.counts["expired"] += 1
        return packet.ttl > 0

    def _cross(self, packet: _Packet, here: Host | Nat, there: Host | Nat | None) -> None:
        """The internet: the only place where packets are late, lost or doubled."""
        if there is None:
            self.counts["nobody"] += 1
            return
        if not self._passes_router(packet, here.hops + there.hops):
            return
        if self.loss and self._random.random() < self.loss:
            self.counts["lost"] += 1
            return
        self._clock.after(self._delay(packet.host, there), self._down, packet, there)
        if self.duplicates and self._random.random() < self.duplicates:
            self.counts["doubled"] += 1
            self._clock.after(self._delay(packet.host, there), self._down, replace(packet), there)

    def _delay(self, host: Host, there: Host | Nat) -> float:
        return self.latency + abs(host.place - there.place) + self.jitter * self._random.random()

    def _down(self, packet: _Packet, there: Host | Nat | None) -> None:
        """Through the NATs to the host itself."""
        now = self._clock.now
        while isinstance(there, Nat):
            passed = there.inward(packet.to.port, packet.source, now)
            if passed is None:
                self.counts["unsolicited"] += 1
                return
            if not self._passes_router(packet, 1):
                return
            packet.to, packet.source = passed
            there = self._inside[there].get(packet.to.ip)
        if there is None or there.asleep or (self.holes and frozenset((packet.host.name, there.name)) in self.holes):
            self.counts["lost"] += 1
            return
        deliver = there.sockets.get(packet.to.port)
        if not there.firewall.inward(packet.source, now):
            self.counts["unsolicited"] += 1
        elif deliver is None:
            self.counts["refused"] += 1
        else:
            deliver(packet.source, packet.payload)
