"""`acls` and `grants`: who is a source of what, by which protocols and ports.

Room: core. No sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

from ginnel.core.control.policy.aliases import SOURCES, TARGETS, Names, split_target
from ginnel.core.control.policy.model import Atom, Kind, Ports, Rule, Target
from ginnel.core.control.policy.ports import PROTOCOLS, need_ports_known, read_ports, read_protocol, wrong
from ginnel.core.control.policy.shape import needed, read_distinct, read_members
from ginnel.wire.hujson import Value


def read_acl(value: Value, names: Names) -> Rule:
    members = read_members(value, 'an item of "acls"', ("action", "proto", "src", "dst"))
    action = needed(members, "action", value)
    if action.data != "accept":
        raise wrong(action, 'the only action is "accept": what no rule accepts is denied')
    protocols = (read_protocol(members["proto"].value),) if "proto" in members else ()
    sources = _sources(needed(members, "src", value), names)
    targets = _targets(needed(members, "dst", value), names, protocols)
    _check_self(sources, targets, needed(members, "src", value))
    return Rule(sources, targets, protocols, value.line)


def _sources(value: Value, names: Names) -> frozenset[Atom]:
    found: set[Atom] = set()
    nets: set[Atom] = set()
    for text, item in read_distinct(value, '"src"'):
        atoms = names.read(text, item, SOURCES, '"src"')
        if not nets.isdisjoint(atoms):
            raise wrong(item, f'{text!r} is in "src" twice, by another name: take one out')
        nets |= {atom for atom in atoms if atom.kind is Kind.NET}
        found |= atoms
    if not value.data:
        raise wrong(value, '"src" names nobody: name a source, or take the rule out')
    return frozenset(found)


def _targets(value: Value, names: Names, protocols: tuple[int, ...]) -> tuple[Target, ...]:
    targets: list[Target] = []
    for text, item in read_distinct(value, '"dst"'):
        who, ports = split_target(text, item)
        need_ports_known(protocols, ports, item)
        targets.append(Target(names.read(who, item, TARGETS, '"dst"'), ports))
        _check_target_once(targets, text, item)
    if not targets:
        raise wrong(value, '"dst" names nothing: name a destination, or take the rule out')
    return tuple(targets)


def _check_target_once(targets: list[Target], text: str, item: Value) -> None:
    newest = targets[-1]
    if any(atom.kind is Kind.NET for atom in newest.atoms) and newest in targets[:-1]:
        raise wrong(item, f'{text!r} is in "dst" twice, by another name: take one out')


def _check_self(sources: frozenset[Atom], targets: tuple[Target, ...], value: Value) -> None:
    to_self = any(atom.kind is Kind.SELF for target in targets for atom in target.atoms)
    if to_self and any(atom.kind not in (Kind.USER, Kind.MEMBER) for atom in sources):
        raise wrong(value, "autogroup:self means a user's own devices: its sources are users, groups, autogroup:member")


def read_grant(value: Value, names: Names) -> list[Rule]:
    """One rule for each protocol that `ip` names, in the order of their first mention."""
    members = read_members(value, 'an item of "grants"', ("src", "dst", "ip"))
    source_list, target_list = needed(members, "src", value), needed(members, "dst", value)
    sources = _sources(source_list, names)
    whom = [names.read(text, item, TARGETS, '"dst"') for text, item in read_distinct(target_list, '"dst"')]
    if not whom:
        raise wrong(target_list, '"dst" names nothing: name a destination, or take the grant out')
    by_protocol: dict[tuple[int, ...], list[Ports]] = {}
    for text, item in read_distinct(needed(members, "ip", value), '"ip"'):
        protocols, ports = _ip(text, item)
        by_protocol.setdefault(protocols, []).append(ports)
    if not by_protocol:
        raise wrong(members["ip"].value, '"ip" allows nothing: write ["*"] for everything, or take the grant out')
    rules = [
        Rule(sources, tuple(Target(atoms, ports) for ports in ranges for atoms in whom), protocols, value.line)
        for protocols, ranges in by_protocol.items()
    ]
    _check_self(sources, rules[0].targets, source_list)
    return rules


def _ip(text: str, item: Value) -> tuple[tuple[int, ...], Ports]:
    """`*`, `443`, `80-90`, `tcp:443`, `icmp:*` or `47:*`."""
    protocol, colon, ports = text.rpartition(":")
    if not colon:
        if ports in PROTOCOLS:
            raise wrong(item, f'{text!r} names no ports: write "{text}:*" for all')
        return (), read_ports(ports, item)
    protocols = (read_protocol(Value(protocol, item.line, item.column)),)
    wanted = read_ports(ports, item)
    need_ports_known(protocols, wanted, item)
    return protocols, wanted
