"""Which overlay addresses a new node gets (tailscale: net/tsaddr/tsaddr.go; headscale: hscontrol/db/ip.go).

Room: core. Time is an argument; no sockets, clocks, files, randomness or logs come in.

    100.64.0.0/10            nodes, but not: the network, the last, 100.100.100.0/24, 100.115.92.0/23
    fd7a:115c:a1e0::/48      nodes, but not: the network, the last, ::53, ab12::/64, b1a::/64, efe3::/64

Addresses are handed out in order and only come round again when all others were. One that was given back rests for
COOL_DOWN, so that no peer with an old map takes its new owner for the old one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from ginnel.words import IpAddress, WallTime

COOL_DOWN = 24 * 3600.0
"""Seconds; ours. A node that lost its server goes on with its last map: this bounds how old that may be."""

V4, V6 = IPv4Network("100.64.0.0/10"), IPv6Network("fd7a:115c:a1e0::/48")
_RESERVED = (
    IPv4Network("100.100.100.0/24"),  # the service address, and the hosted service's others
    IPv4Network("100.115.92.0/23"),  # virtual machines of ChromeOS; clients do not count it as ours
    IPv6Network("fd7a:115c:a1e0::53"),  # the service address
    IPv6Network("fd7a:115c:a1e0:ab12::/64"),  # IPv4 addresses in the hosted service's mapping to IPv6
    IPv6Network("fd7a:115c:a1e0:b1a::/64"),  # 4via6 subnet routes
    IPv6Network("fd7a:115c:a1e0:efe3::/64"),  # the hosted service's IPv6-only ephemeral nodes
)


class NoAddressLeft(Exception):
    """Every address is in use or resting. str() is one line."""


class AddressPool:
    """Both families. It holds what is in use and what rests: a few hundred bytes for each node.

    `used`: addresses of the nodes there are. `freed`: those given back, with the time; a server that starts again
    tells those of the last COOL_DOWN.
    """

    def __init__(
        self,
        used: Iterable[IpAddress] = (),
        freed: Iterable[tuple[IpAddress, WallTime]] = (),
        cool_down: float = COOL_DOWN,
    ) -> None:
        taken, resting = list(used), sorted(freed, key=lambda pair: pair[1])
        self._v4, self._v6 = (
            _Range(
                net,
                [int(address) for address in taken if address.version == net.version],
                [(int(address), time) for address, time in resting if address.version == net.version],
                cool_down,
            )
            for net in (V4, V6)
        )

    def allocate(self, now: WallTime) -> tuple[IPv4Address, IPv6Address]:
        """A pair that nobody has and nobody had in the last COOL_DOWN. Raises NoAddressLeft."""
        v4 = self._v4.allocate(now)
        return IPv4Address(v4), IPv6Address(self._v6.allocate(now))

    def free(self, addresses: Iterable[IpAddress], now: WallTime) -> None:
        """Give back a deleted node's addresses. Raises KeyError for one that is not in use."""
        for address in addresses:
            (self._v4 if address.version == 4 else self._v6).free(int(address), now)


class _Range:
    """One family, in numbers. `cursor` only goes forward, and round."""

    def __init__(
        self, net: IPv4Network | IPv6Network, used: Sequence[int], freed: Sequence[tuple[int, float]], cool_down: float
    ) -> None:
        self.net = net
        self.cool_down = cool_down
        self.first, self.last = int(net.network_address) + 1, int(net.broadcast_address) - 1
        self.reserved = [
            (int(part.network_address), int(part.broadcast_address)) for part in _RESERVED if part.overlaps(net)
        ]
        self.size = self.last - self.first + 1 - sum(last - first + 1 for first, last in self.reserved)
        self.used = set(used)
        self.resting = deque(freed)
        self.rests = {number for number, _ in freed}
        known = [number for number in (self.used | self.rests) if self.first <= number <= self.last]
        self.cursor = max(known, default=self.first - 1)

    def allocate(self, now: float) -> int:
        self.wake(now)
        if len(self.used) + len(self.rests) >= self.size:
            raise NoAddressLeft(f"no address is left in {self.net}: delete nodes that are gone, then wait a day")
        self.advance()
        while self.cursor in self.used or self.cursor in self.rests:
            self.advance()
        self.used.add(self.cursor)
        return self.cursor

    def advance(self) -> None:
        self.cursor = self.cursor + 1 if self.cursor < self.last else self.first
        for first, last in self.reserved:
            if first <= self.cursor <= last:
                self.cursor = last + 1

    def wake(self, now: float) -> None:
        while self.resting and self.resting[0][1] + self.cool_down <= now:
            self.rests.discard(self.resting.popleft()[0])

    def free(self, number: int, now: float) -> None:
        self.used.remove(number)
        self.rests.add(number)
        self.resting.append((number, now))
