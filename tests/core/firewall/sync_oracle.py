"""What must be true of `Sync` at each step of sync_world.py, by whoever knows the truth that the machine does not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from ipaddress import ip_address

from ginnel.core.firewall.sync_words import TTL_MOST, Apply, Settings
from ginnel.words import IpAddress

LATENCY = 2.0
DNS_TIMEOUT = 5.0
SET_TIME = 1.0
SLACK = 4 * LATENCY + 2 * SET_TIME + DNS_TIMEOUT + 2.0
RETRY = 120.0 + DNS_TIMEOUT
FAULTS = ("server-down", "server-garbage", "server-short", "dns-down", "dns-empty", "dns-lies", "dns-public-lies",
          "dns-one-family", "dns-flood", "set-fails", "set-unreadable", "set-gone", "disk-full")  # fmt: skip
TTLS = (0.0, 5.0, 60.0, 300.0, 259200.0)
LIES = tuple(map(ip_address, ("10.0.0.1", "127.0.0.1", "100.64.0.7", "192.168.1.1", "fd00::1", "::1")))


class Broken(AssertionError):
    """The machine did what it must never do, or left undone what it had to do."""


@dataclass
class Relay:
    """`listed`: its addresses stand in the map. `ttl`: of its name. `rotates`: each answer has the half of them that
    the last one had not."""

    name: str
    addresses: set[IpAddress]
    listed: bool
    ttl: float
    rotates: bool = False
    turns: Counter[int] = field(default_factory=Counter)

    def of(self, family: int) -> frozenset[IpAddress]:
        found = sorted(ip for ip in self.addresses if ip.version == family)
        if self.rotates and len(found) > 1:
            self.turns[family] += 1
            return frozenset(found[self.turns[family] % 2 :: 2])
        return frozenset(found)

    @property
    def lag(self) -> float:
        """Until all of it has been answered, and what it named is not waited for."""
        return TTL_MOST if self.rotates else min(self.ttl, TTL_MOST)


Named = tuple[str, IpAddress]


@dataclass
class Oracle:
    """`born`: since when an address has been true of a name without a break. `named`: when a good answer said so last,
    as far as the process knows; `kept`: as far as it would after a restart."""

    settings: Settings
    born: dict[Named, float] = field(default_factory=dict)
    ever: set[IpAddress] = field(default_factory=set)
    left: dict[IpAddress, float] = field(default_factory=dict)
    named: dict[Named, float] = field(default_factory=dict)
    kept: dict[Named, float] = field(default_factory=dict)
    found: dict[IpAddress, float] = field(default_factory=dict)  # when somebody else put it into the set
    rotating: set[str] = field(default_factory=set)  # half of the truth at a time: two answers may lack the same half
    calm_since: float = 0.0

    def truth(self, pairs: set[Named], now: float) -> None:
        for pair in pairs - self.born.keys():
            self.born[pair] = now
        for pair in self.born.keys() - pairs:
            del self.born[pair]
            self.left[pair[1]] = now
        self.ever |= self.true()

    def true(self) -> set[IpAddress]:
        return {address for _, address in self.born}

    def ordered(self, change: Apply, held: set[IpAddress], now: float) -> None:
        if change.adds and change.removes:
            raise Broken("an order both adds and removes")
        if wrong := change.adds.keys() - self.ever:
            raise Broken(f"adds what was never true: {wrong}")
        if change.removes and not held - change.removes.keys():
            raise Broken("empties the set")
        for address in change.removes:
            self._may_go(address, now)

    def _may_go(self, address: IpAddress, now: float) -> None:
        said = [at for (_, ip), at in self.named.items() if ip == address]
        since = max([*said, self.found.get(address, -1e9)])
        if now - since < self.settings.linger - 0.001:
            raise Broken(f"removes {address} {now - since:.1f} s after it was named")
        for pair, born in self.born.items():
            if pair[1] == address and pair[0] not in self.rotating and born <= self.named.get(pair, -1.0):
                raise Broken(f"removes {address}, which is true of {pair[0]} all the time since {born:.0f}")

    def standing(self, held: set[IpAddress], now: float, lag: float, patience: float) -> None:
        """What a world without faults has to look like. `lag`: the longest TTL. `patience`: how long stays what is left
        out by names that rotate."""
        fresh = max(self.settings.list_every, lag) + SLACK
        if now - self.calm_since < RETRY + fresh:
            return
        if late := {ip for (_, ip), born in self.born.items() if now - born > fresh} - held:
            raise Broken(f"calm since {self.calm_since:.0f}, and {late} is not in the set")
        gone = RETRY + 2 * self.settings.linger + 4 * fresh + patience
        if now - self.calm_since < gone:
            return
        if stale := {ip for ip in held - self.true() if now - self.left.get(ip, 0.0) > gone}:
            raise Broken(f"calm since {self.calm_since:.0f}, and {stale} is still in the set")
