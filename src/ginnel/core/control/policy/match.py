"""Which targets of a policy a node stands in, as source or as destination: one bit for each target.

Room: core. No sockets, clocks, files, randomness or logs come in.

    target number      0   1   2  ...  n-1 | n  n+1 ...  2n-1
    family             IPv4 (low lane)     | IPv6 (high lane)

A source bit of one node that meets a destination bit of another, in one lane, says that a packet exists which a rule
accepts. The lanes keep a rule about IPv4 addresses from pairing with one about IPv6 addresses.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ginnel.core.control.policy.model import Atom, Kind, Network, PolicyNode, user_name
from ginnel.core.control.policy.prefixes import EXIT_ROUTES

_ByNumber = dict[int, int]  # network address as a number -> bits


@dataclass(slots=True)
class Index:
    """The bits that each alias gives. `width`: how many targets there are, hence where the high lane begins."""

    width: int
    of_targets: bool = False
    users: dict[str, int] = field(default_factory=dict)
    tags: dict[str, int] = field(default_factory=dict)
    member: int = 0
    tagged: int = 0
    everyone: int = 0
    internet: int = 0
    nets: list[tuple[Network, int]] = field(default_factory=list)
    by_length: dict[int, dict[int, _ByNumber]] = field(default_factory=lambda: {4: {}, 6: {}})

    def add(self, atom: Atom, bits: int) -> None:
        match atom.kind:
            case Kind.USER:
                self.users[atom.name] = self.users.get(atom.name, 0) | bits
            case Kind.TAG:
                self.tags[atom.name] = self.tags.get(atom.name, 0) | bits
            case Kind.MEMBER:
                self.member |= bits
            case Kind.TAGGED:
                self.tagged |= bits
            case Kind.INTERNET:
                self.internet |= bits
            case Kind.ANY | Kind.DANGER_ALL:
                self.everyone |= bits
            case Kind.NET:
                assert atom.net is not None, "an address atom has its network"
                self._add_net(atom.net, bits)
            case Kind.SELF:
                raise ValueError("autogroup:self is its rule's sources, one user at a time")

    def _add_net(self, net: Network, bits: int) -> None:
        self.nets.append((net, bits))
        by_number = self.by_length[net.version].setdefault(net.max_prefixlen - net.prefixlen, {})
        number = int(net.network_address)
        by_number[number] = by_number.get(number, 0) | bits

    def identity(self, node: PolicyNode) -> int:
        """Bits, without lanes, that the node's user or tags give: where they are sources, its addresses are listed."""
        if not node.tags:
            return self.member | self.users.get(user_name(node.user), 0)
        bits = self.tagged
        for tag in node.tags:
            bits |= self.tags.get(tag, 0)
        return bits

    def lanes(self, node: PolicyNode) -> int:
        """All bits of the node, in the lanes of the families in which it has an address or a route."""
        identity, bits = self.identity(node) | self.everyone, 0
        for address in node.addresses:
            bits |= (identity | self._holding(address.version, int(address))) << self._lane(address.version)
        for route in node.routes:
            bits |= self._through(route) << self._lane(route.version)
        return bits

    def _lane(self, version: int) -> int:
        return 0 if version == 4 else self.width

    def _holding(self, version: int, number: int) -> int:
        """Bits of the prefixes that an address lies in."""
        bits = 0
        for shift, by_number in self.by_length[version].items():
            bits |= by_number.get(number >> shift << shift, 0)
        return bits

    def _through(self, route: Network) -> int:
        """Bits of what lies behind a route: the internet (for it, not from it), or the prefixes that overlap it."""
        if route in EXIT_ROUTES:
            return (self.internet | self.everyone) if self.of_targets else 0
        bits = self.everyone
        for net, net_bits in self.nets:
            if net.version == route.version and net.overlaps(route):
                bits |= net_bits
        return bits
