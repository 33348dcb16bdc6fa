"""The policy's own `tests`: what it must accept and deny, tried on the very filters that nodes would get.

Room: core. No sockets, clocks, files, randomness or logs come in.

An alias that no node has yet stands for an imagined one, so a policy is tested before anybody joins: a user's first
device, a first node with a tag, a router that leads to an address, an exit node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_network
from itertools import product

from ginnel.core.control.policy.compile import Compiled, compile_policy
from ginnel.core.control.policy.model import Atom, Expectation, Kind, Network, Policy, PolicyNode, PolicyTest
from ginnel.core.control.policy.prefixes import EXIT_ROUTES
from ginnel.core.control.policy.roster import Roster
from ginnel.wire.tailcfg import FilterRule
from ginnel.words import IpAddress, NodeId


@dataclass(frozen=True, slots=True)
class Failure:
    """A test that does not hold. str() is one line, `policy line 30: ...`."""

    line: int
    message: str

    def __str__(self) -> str:
        return f"policy line {self.line}: {self.message}"


def run_tests(policy: Policy, nodes: Iterable[PolicyNode]) -> list[Failure]:
    """Every expectation that does not hold among these nodes and those imagined; empty when the policy may be set.

    A test without `proto` is about TCP or UDP: accepted when either gets through, denied when neither does.
    """
    if not policy.tests:
        return []
    cast = _Cast(nodes)
    scenes = [(test, expected, *cast.ends(test, expected)) for test in policy.tests for expected in test.expectations]
    compiled = compile_policy(policy, cast.nodes)
    return [
        Failure(expected.line, complaint)
        for test, expected, sources, targets in scenes
        if (complaint := _complaint(compiled, test, expected, sources, targets))
    ]


@dataclass(frozen=True, slots=True)
class End:
    """One side of a try: a node (None: an address that no node has) and the addresses that it is tried with."""

    node: PolicyNode | None
    addresses: tuple[IpAddress, ...]


# Imagined nodes live where real ones never do: 100.100.100.0/24, and the range of the hosted service's ephemeral nodes.
_STAGE_V4, _STAGE_V4_SIZE = int(IPv4Address("100.100.100.0")), 256
_STAGE_V6 = int(IPv6Address("fd7a:115c:a1e0:efe3::"))
_OUTSIDE = (IPv4Address("203.0.113.1"), IPv6Address("2001:db8::1"))


class _Cast:
    """The real nodes, and those imagined for aliases that none of them has."""

    def __init__(self, nodes: Iterable[PolicyNode]) -> None:
        self.nodes = list(nodes)
        self._owners = {address: node for node in self.nodes for address in node.addresses}
        self._roster = Roster()
        for node in self.nodes:
            self._roster.add(node)
        self._imagined: dict[tuple[Atom, bool], End] = {}

    def ends(self, test: PolicyTest, expected: Expectation) -> tuple[list[End], list[End]]:
        sources = [end for atom in test.source for end in self._of(atom, is_target=False)]
        return sources, [end for atom in expected.target for end in self._of(atom, is_target=True)]

    def _of(self, atom: Atom, *, is_target: bool) -> Iterator[End]:
        nodes = self._roster.of(atom)
        if nodes:
            yield from (End(node, node.addresses) for node in nodes.values())
        elif atom.net is not None and atom.net.network_address in self._owners:
            yield End(self._owners[atom.net.network_address], (atom.net.network_address,))
        elif atom.net is not None and not is_target:
            yield End(None, (atom.net.network_address,))
        else:
            if (atom, is_target) not in self._imagined:
                self._imagined[atom, is_target] = self._imagine(atom, is_target=is_target)
            yield self._imagined[atom, is_target]

    def _imagine(self, atom: Atom, *, is_target: bool) -> End:
        if atom.net is not None:
            router = self._enter("(a router)", routes=(atom.net,), nowhere=True)
            return End(router, (atom.net.network_address,))
        if atom.kind is Kind.INTERNET:
            return End(self._enter("(an exit node)", routes=tuple(EXIT_ROUTES)), _OUTSIDE)
        if atom.kind is Kind.USER:
            node = self._enter(atom.name)
        elif atom.kind is Kind.MEMBER:
            node = self._enter("(another member)" if is_target else "(a member)")
        else:
            node = self._enter("", tags=frozenset({atom.name or "(a tag)"}))
        return End(node, node.addresses)

    def _enter(
        self, user: str, *, tags: frozenset[str] = frozenset(), routes: tuple[Network, ...] = (), nowhere: bool = False
    ) -> PolicyNode:
        number = len(self._imagined) + 1
        addresses: list[IpAddress] = [IPv6Address(_STAGE_V6 + number)]
        if number < _STAGE_V4_SIZE:
            addresses.insert(0, IPv4Address(_STAGE_V4 + number))
        node = PolicyNode(NodeId(-number), user, tags, () if nowhere else tuple(addresses), routes)
        self.nodes.append(node)
        return node


def _complaint(
    compiled: Compiled, test: PolicyTest, expected: Expectation, sources: list[End], targets: list[End]
) -> str | None:
    if expected.accept and not (sources and targets):
        return f"the test cannot try {test.source_text} to {expected.text}: the group has no members"
    port = expected.port or 0
    for source, target in _pairs(compiled, sources, targets):
        reached = any(
            allows(_filters(compiled, target), a, b, protocol, port)
            for a, b, protocol in product(source.addresses, target.addresses, test.protocols)
        )
        if reached != expected.accept:
            ability, wish = ("can", '"deny" forbids') if reached else ("cannot", '"accept" asks for')
            return f"test failed: {test.source_text} {ability} reach {expected.text}, which {wish}"
    return None


def _filters(compiled: Compiled, target: End) -> list[FilterRule]:
    assert target.node is not None, "a destination that no node has got an imagined router"
    return compiled.filters_for(target.node.id)


def _pairs(compiled: Compiled, sources: list[End], targets: list[End]) -> Iterator[tuple[End, End]]:
    """One pair for each way in which pairs can differ under the policy, not each of maybe a million."""
    targets_of: dict[str, dict[object, End]] = {}
    for target in targets:
        targets_of.setdefault(_user(target), {}).setdefault(_standing(compiled, target), target)
    seen: set[tuple[object, object, bool]] = set()
    for source in _few(compiled, sources):
        for target in _few(compiled, targets):
            pair = _standing(compiled, source), _standing(compiled, target), _user(source) == _user(target)
            if pair not in seen:
                seen.add(pair)
                yield source, target
    for source in sources:
        for standing, target in targets_of.get(_user(source), {}).items():
            pair = _standing(compiled, source), standing, True
            if pair not in seen:
                seen.add(pair)
                yield source, target


def _few(compiled: Compiled, ends: list[End]) -> list[End]:
    """For each standing, nodes of two users where there are two."""
    kept: dict[object, dict[str, End]] = {}
    for end in ends:
        users = kept.setdefault(_standing(compiled, end), {})
        if len(users) < 2:
            users.setdefault(_user(end), end)
    return [end for users in kept.values() for end in users.values()]


def _standing(compiled: Compiled, end: End) -> object:
    """Ends of one standing are treated alike, but for what users may do among their own devices."""
    if end.node is None or end.node.routes or end.addresses != end.node.addresses:
        return end
    return compiled.visibility_class(end.node.id).band, tuple(address.version for address in end.addresses)


def _user(end: End) -> str:
    return "" if end.node is None or end.node.tags else end.node.user


def allows(rules: Iterable[FilterRule], source: IpAddress, target: IpAddress, protocol: int, port: int) -> bool:
    """Whether a first packet passes filter rules as nodes read them (tailscale: wgengine/filter)."""
    return any(
        protocol in (rule.ip_proto or (1, 6, 17, 58))
        and any(
            spot.ports.first <= port <= spot.ports.last and _holds(spot.ip, target) for spot in rule.dst_ports or ()
        )
        and any(_holds(text, source) for text in rule.src_ips)
        for rule in rules
    )


def _holds(text: str, address: IpAddress) -> bool:
    return text == "*" or address in _network(text)


@lru_cache(maxsize=1 << 16)
def _network(text: str) -> Network:
    return ip_network(text)
