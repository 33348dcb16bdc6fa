"""The UDP network between simulated hosts: addresses, NATs on the way, latency and loss.

Room: testing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from ginnel.testing.clock import VirtualClock
from ginnel.testing.nat import Firewall, Nat
from ginnel.words import Endpoint, IpAddress

Deliver = Callable[[Endpoint, bytes], None]
"""(source, packet), to a bound socket."""


@dataclass(slots=True)
class Host:
    """A machine with one IPv4 address and perhaps an IPv6 one, behind `nat` for IPv4 if there is one."""

    name: str
    v4: IpAddress | None
    v6: IpAddress | None = None
    nat: Nat | None = None
    firewall: Firewall = field(default_factory=Firewall)
    sockets: dict[int, Deliver] = field(default_factory=dict)

    def address(self, version: int) -> IpAddress | None:
        return self.v4 if version == 4 else self.v6


class Network:
    """`latency`: one way, seconds; half of the hosts' random part is added. `loss`: of each packet."""

    def __init__(
        self, clock: VirtualClock, random: Random, *, latency: float, jitter: float = 0.0, loss: float = 0.0
    ) -> None:
        self.latency = latency
        self.jitter = jitter
        self.loss = loss
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._random = random
        self._outside: dict[IpAddress, Host | Nat] = {}
        self._lans: dict[tuple[int, IpAddress], Host] = {}

    def add(self, host: Host) -> Host:
        if host.v4 is not None and host.nat is None:
            self._outside[host.v4] = host
        elif host.v4 is not None and host.nat is not None:
            self._outside[host.nat.outer] = host.nat
            self._lans[id(host.nat), host.v4] = host
        if host.v6 is not None:
            self._outside[host.v6] = host
        return host

    def move(self, host: Host, v4: IpAddress, nat: Nat | None) -> None:
        """The host changes its network; sockets stay."""
        for table_key in [key for key, held in self._lans.items() if held is host]:
            del self._lans[table_key]
        for ip in [ip for ip, held in self._outside.items() if held is host]:
            del self._outside[ip]
        host.v4, host.nat = v4, nat
        self.add(host)

    def send(self, host: Host, port: int, to: Endpoint, packet: bytes) -> bool:
        """False: the host has no address of that family."""
        own = host.address(to.ip.version)
        if own is None:
            return False
        self.counts["sent"] += 1
        if not host.firewall.outward(to, self._clock.now) or self._random.random() < self.loss:
            self.counts["lost"] += 1
            return True
        source = Endpoint(own, port)
        nat = host.nat if to.is_v4 else None
        neighbour = self._lans.get((id(nat), to.ip)) if nat is not None else None
        if neighbour is not None:
            self._arrive(neighbour, to.port, source, packet, 0.0005)
            return True
        if nat is not None:
            outer = nat.outward(source, to, self._clock.now)
            if outer is None:
                self.counts["blocked"] += 1
                return True
            source = outer
        self._clock.after(self._delay(), lambda: self._at_the_door(source, to, packet))
        return True

    def _delay(self) -> float:
        return self.latency + self.jitter * self._random.random()

    def _at_the_door(self, source: Endpoint, to: Endpoint, packet: bytes) -> None:
        there = self._outside.get(to.ip)
        if isinstance(there, Nat):
            inner = there.inward(to.port, source, self._clock.now)
            host = self._lans.get((id(there), inner.ip)) if inner is not None else None
            if inner is not None and host is not None:
                self._arrive(host, inner.port, source, packet, 0.0)
                return
        elif there is not None:
            self._arrive(there, to.port, source, packet, 0.0)
            return
        self.counts["unsolicited"] += 1

    def _arrive(self, host: Host, port: int, source: Endpoint, packet: bytes, delay: float) -> None:
        def deliver() -> None:
            socket = host.sockets.get(port)
            if socket is None or not host.firewall.inward(source, self._clock.now):
                self.counts["refused"] += 1
                return
            socket(source, packet)

        if delay:
            self._clock.after(delay, deliver)
        else:
            deliver()
