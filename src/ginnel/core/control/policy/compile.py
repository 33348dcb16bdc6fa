"""A policy and the nodes become packet filters and visibility, and stay so as nodes come and go.

Room: core. No sockets, clocks, files, randomness or logs come in.

    rules --> targets (one for each item of a `dst`; its number is its bit)
    node  --> bits as source, bits as destination --> band --> whom it sees
                                  |
                                  `-> its targets --> filter rules, merged by sources and protocols

A node that comes or goes costs the bits of its aliases and the nodes whom it touches; nothing looks at all pairs.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from dataclasses import dataclass

from ginnel.core.control.policy.match import Index
from ginnel.core.control.policy.model import Atom, Kind, Policy, PolicyNode, Ports, Rule, Target, user_name
from ginnel.core.control.policy.prefixes import INTERNET, spell
from ginnel.core.control.policy.roster import Roster
from ginnel.core.control.policy.visibility import Band, Bands
from ginnel.wire.tailcfg import FilterRule, NetPortRange, PortRange
from ginnel.words import NodeId


@dataclass(frozen=True, slots=True)
class Touched:
    """What a change of one node did to the others. The node itself is in none of the sets.

    `gained`, `lost`: they and the node see each other from now on, or no longer.
    `refiltered`: their packet filter may read differently now.
    """

    gained: frozenset[NodeId] = frozenset()
    lost: frozenset[NodeId] = frozenset()
    refiltered: frozenset[NodeId] = frozenset()


class SrcIPs:
    """A rendered list of sources that hashes once, so that rules with equal lists are merged cheaply."""

    __slots__ = ("_hash", "ips")

    def __init__(self, ips: list[str]) -> None:
        self.ips = ips
        self._hash = hash(tuple(ips))

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return self is other or (isinstance(other, SrcIPs) and self.ips == other.ips)


@dataclass(slots=True, eq=False)
class Sources:
    """The sources of rules that name the same. `feeds`: the targets behind them; `rendered`: None once it is stale."""

    atoms: frozenset[Atom]
    feeds: int = 0
    rendered: SrcIPs | None = None

    def render(self, roster: Roster) -> SrcIPs:
        if self.rendered is None:
            self.rendered = SrcIPs(roster.source_addresses(self.atoms))
        return self.rendered


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """One target of one rule. `ips`: what DstPorts name; None stands for the receiving node's own addresses."""

    sources: Sources
    protocols: tuple[int, ...]
    ports: Ports
    ips: tuple[str, ...] | None
    to_self: bool


@dataclass(frozen=True, slots=True)
class Placed:
    """A node in its place. `circle`: its user, where autogroup:self is about the node, else empty."""

    node: PolicyNode
    band: Band
    circle: str


@dataclass(frozen=True, slots=True)
class VisibilityClass:
    """Opaque to callers; compares by identity of the band."""

    band: Band
    circle: str


_FilterKey = tuple[tuple[object, ...], str]


class Compiled:
    """The filters and the visibility of all nodes under one policy."""

    def __init__(self, policy: Policy) -> None:
        pairs = [(rule, target) for rule in policy.rules for target in rule.targets]
        self._as_source, self._as_target = Index(len(pairs)), Index(len(pairs), of_targets=True)
        self._sources: dict[frozenset[Atom], Sources] = {}
        self._ways = [self._way(number, rule, target) for number, (rule, target) in enumerate(pairs)]
        self._to_self = sum(1 << number for number, way in enumerate(self._ways) if way.to_self)
        self._to_own = sum(1 << number for number, way in enumerate(self._ways) if way.ips is None)
        self._from_routes = sum(s.feeds for s in self._sources.values() if Atom(Kind.ANY) in s.atoms)
        self._roster = Roster()
        self._bands = Bands(len(pairs))
        self._placed: dict[NodeId, Placed] = {}
        self._own_sources: dict[str, SrcIPs] = {}  # by user, for autogroup:self
        self._filters: dict[int, dict[_FilterKey, list[FilterRule]]] = {}  # by the targets held, then by whose

    def _way(self, number: int, rule: Rule, target: Target) -> Way:
        to_self = Atom(Kind.SELF) in target.atoms
        for atom in rule.sources if to_self else target.atoms:
            self._as_target.add(atom, 1 << number)
        sources = self._sources.setdefault(rule.sources, Sources(rule.sources))
        if not to_self:
            sources.feeds |= 1 << number
            for atom in rule.sources:
                self._as_source.add(atom, 1 << number)
        return Way(sources, rule.protocols, target.ports, _destination(target), to_self)

    # --- nodes come and go ---

    def put(self, node: PolicyNode) -> Touched:
        """Add the node, or replace the one with its id."""
        old = self._placed.get(node.id)
        if old is not None and old.node == node:
            return Touched()
        before = self.visible_to(node.id) if old else frozenset()
        refiltered = self._move(old, node) - {node.id}
        after = self.visible_to(node.id)
        return Touched(after - before, before - after, refiltered)

    def remove(self, node_id: NodeId) -> Touched:
        """Take the node away. Raises KeyError when it is not there."""
        old = self._placed[node_id]
        before = self.visible_to(node_id)
        return Touched(lost=before, refiltered=self._move(old, None) - {node_id})

    def _move(self, old: Placed | None, new: PolicyNode | None) -> frozenset[NodeId]:
        """Replace a node; the nodes whose filters name something that changed with it."""
        named_alike = old is not None and new is not None and _named(old.node) == _named(new)
        mates = frozenset[NodeId]()
        routes_changed, changed = False, 0
        if old is not None:
            routes_changed |= self._take(old)
            changed |= self._as_source.identity(old.node)
            mates |= self._circle_of(old.circle)
        if new is not None:
            placed, grew = self._place(new)
            routes_changed |= grew
            changed |= self._as_source.identity(new)
            mates |= self._circle_of(placed.circle)
        if named_alike:
            changed, mates = 0, frozenset()
        return self._refilter(changed | (self._from_routes if routes_changed else 0), mates)

    def _place(self, node: PolicyNode) -> tuple[Placed, bool]:
        target = self._as_target.lanes(node)
        band = self._bands.join(node.id, self._as_source.lanes(node), target)
        placed = Placed(node, band, user_name(node.user) if band.holds & self._to_self else "")
        self._placed[node.id] = placed
        self._own_sources.pop(placed.circle, None)
        return placed, self._roster.add(node)

    def _take(self, placed: Placed) -> bool:
        self._forget_filters(placed)
        self._own_sources.pop(placed.circle, None)
        self._bands.leave(placed.node.id, placed.band)
        del self._placed[placed.node.id]
        return self._roster.remove(placed.node)

    def _circle_of(self, user: str) -> frozenset[NodeId]:
        return frozenset(self._roster.of_user(user)) if user else frozenset()

    def _refilter(self, changed: int, mates: frozenset[NodeId]) -> frozenset[NodeId]:
        for sources in self._sources.values():
            if sources.feeds & changed:
                sources.rendered = None
        for held in [held for held in self._filters if held & changed]:
            del self._filters[held]
        for mate in mates:
            self._forget_filters(self._placed[mate])
        return self._bands.holding(changed) | mates if changed else mates

    def _forget_filters(self, placed: Placed) -> None:
        self._filters.get(placed.band.holds, {}).pop(self._filter_key(placed), None)

    # --- filters ---

    def filters_for(self, node_id: NodeId) -> list[FilterRule]:
        """The rules whose destinations touch the node, its routes or, for an exit node, the internet.

        Nodes of one `filter_class` get the same list object: do not change it.
        """
        placed = self._placed[node_id]
        kept = self._filters.setdefault(placed.band.holds, {})
        key = self._filter_key(placed)
        if key not in kept:
            kept[key] = self._render(placed)
        return kept[key]

    def filter_class(self, node_id: NodeId) -> Hashable:
        """Nodes for whom it is equal have equal filters, until the next put or remove."""
        placed = self._placed[node_id]
        return placed.band.holds, self._filter_key(placed)

    def _filter_key(self, placed: Placed) -> _FilterKey:
        return placed.node.addresses if placed.band.holds & self._to_own else (), placed.circle

    def _render(self, placed: Placed) -> list[FilterRule]:
        own = tuple(spell(placed.node.addresses))
        merged: dict[tuple[SrcIPs, tuple[int, ...]], dict[tuple[str, int, int], None]] = {}
        for number in _numbers(placed.band.holds):
            way = self._ways[number]
            sources = self._self_sources(placed) if way.to_self else way.sources.render(self._roster)
            spots = merged.setdefault((sources, way.protocols), {})
            for ip in own if way.ips is None else way.ips:
                spots.update(dict.fromkeys((ip, *span) for span in way.ports))
        return [
            _rule(sources.ips, protocols, spots)
            for (sources, protocols), spots in merged.items()
            if sources.ips and spots
        ]

    def _self_sources(self, placed: Placed) -> SrcIPs:
        kept = self._own_sources.get(placed.circle)
        if kept is None:
            nodes = self._roster.of_user(placed.circle).values()
            kept = SrcIPs(spell(address for node in nodes for address in node.addresses))
            self._own_sources[placed.circle] = kept
        return kept

    # --- visibility ---

    def may_see(self, a: NodeId, b: NodeId) -> bool:
        """Whether either may reach the other, on any port. A node does not see itself."""
        one, other = self._placed[a], self._placed[b]
        if a == b:
            return False
        return one.band.sees(other.band) or (one.circle == other.circle and self._own_devices(one.band, other.band))

    def _own_devices(self, one: Band, other: Band) -> bool:
        """Whether autogroup:self lets nodes of these bands see each other, if they are of one user."""
        to_self = self._to_self | self._to_self << len(self._ways)
        return bool(one.target & other.target & to_self)

    def visible_to(self, node_id: NodeId) -> frozenset[NodeId]:
        """All that `may_see` the node; it is not among them."""
        return self.visible_to_class(self.visibility_class(node_id)) - {node_id}

    def visibility_class(self, node_id: NodeId) -> VisibilityClass:
        """Nodes for whom it is equal see the same nodes (each but itself), until the next put or remove."""
        placed = self._placed[node_id]
        return VisibilityClass(placed.band, placed.circle)

    def visible_to_class(self, seer: VisibilityClass) -> frozenset[NodeId]:
        """Whom a node of the class sees; holds the class's own members too where they see each other."""
        seen = self._bands.visible_to(seer.band)
        mates = self._circle_of(seer.circle)
        return seen.union(m for m in mates if self._own_devices(seer.band, self._placed[m].band)) if mates else seen


def compile_policy(policy: Policy, nodes: Iterable[PolicyNode] = ()) -> Compiled:
    """The ids of `nodes` differ. Costs microseconds for each node: nobody is compared with anybody."""
    compiled = Compiled(policy)
    for node in nodes:
        compiled._place(node)
    return compiled


def _named(node: PolicyNode) -> tuple[object, ...]:
    """What sources list a node by, and as what."""
    return node.user, node.tags, node.addresses


def _destination(target: Target) -> tuple[str, ...] | None:
    """What DstPorts name for a target, or None for the receiver's own addresses: others' are no concern of it."""
    kinds = {atom.kind for atom in target.atoms}
    if Kind.ANY in kinds:
        return ("*",)
    if Kind.INTERNET in kinds:
        return INTERNET
    networks = [atom.net for atom in target.atoms if atom.net is not None]
    return tuple(spell((), networks)) if networks else None


def _numbers(bits: int) -> Iterator[int]:
    """Which bits are set, from the lowest."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _rule(src_ips: list[str], protocols: tuple[int, ...], spots: Iterable[tuple[str, int, int]]) -> FilterRule:
    ports = [NetPortRange(ip, PortRange(first, last)) for ip, first, last in spots]
    return FilterRule(src_ips=src_ips, dst_ports=ports, ip_proto=list(protocols) or None)
