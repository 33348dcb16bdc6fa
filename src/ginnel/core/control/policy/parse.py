"""HuJSON text becomes a Policy, or one error that names its line and says what to write instead.

Room: core. No sockets, clocks, files, randomness or logs come in.

The language is headscale's (hscontrol/policy/v2/types.go); docs/policy.md tells it. Nothing is skipped in silence: a
member that would mean something elsewhere and is not understood here refuses the whole policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ginnel.core.control.policy.aliases import (
    GROUP,
    HOST,
    OWNERS,
    SOURCES,
    TAG,
    TARGETS,
    TEST_SOURCES,
    TEST_TARGETS,
    Names,
    read_network,
    split_target,
)
from ginnel.core.control.policy.model import (
    ALL_PORTS,
    NO_POLICY,
    Atom,
    Expectation,
    Kind,
    Policy,
    PolicyError,
    PolicyTest,
    Ports,
    Rule,
    Target,
)
from ginnel.core.control.policy.ports import (
    PROTOCOLS,
    WITH_PORTS,
    need_ports_known,
    read_ports,
    read_protocol,
    wrong,
)
from ginnel.wire import hujson
from ginnel.wire.hujson import HujsonError, Member, Value

SECTIONS = ("groups", "hosts", "tagOwners", "acls", "grants", "tests")
LATER = frozenset({
    "nodeAttrs", "autoApprovers", "ssh", "sshTests", "randomizeClientPort", "postures", "defaultSrcPosture", "ipsets",
    "derpMap", "disableIPv4", "OneCGNATRoute", "extraDNSRecords", "app", "via", "srcPosture", "srcPostureAttrs",
})  # fmt: skip
RENAMED = {"users": "src", "ports": "dst", "user": "src", "allow": "accept"}  # spellings of older policies


def parse_policy(text: str) -> Policy:
    """Read a policy file. Raises PolicyError; the tests in it are read, not run (`run_tests`)."""
    try:
        document = hujson.parse(text)
    except HujsonError as error:
        raise PolicyError(error.line, error.column, error.message) from None
    sections = _members(document, "the policy", SECTIONS)
    names = _names(sections)
    tag_owners = dict(_tag_owners(sections, names))
    rules = [_acl(item, names) for item in _section_items(sections, "acls")]
    for item in _section_items(sections, "grants"):
        rules += _grant(item, names)
    if "acls" not in sections and "grants" not in sections:
        rules = list(NO_POLICY.rules)
    tests = [_test(item, names) for item in _section_items(sections, "tests")]
    return Policy(tuple(rules), MappingProxyType(tag_owners), tuple(tests), MappingProxyType(names.users))


# --- shapes ----------------------------------------------------------------------------------------------------


def _members(value: Value, what: str, known: tuple[str, ...]) -> dict[str, Member]:
    members = _object(value, what)
    for name, member in members.items():
        if name not in known:
            raise PolicyError(member.line, member.column, _unknown_member(name, what, known))
    return members


def _unknown_member(name: str, what: str, known: tuple[str, ...]) -> str:
    if name in LATER:
        return f'"{name}" is not supported yet: take it out of {what}'
    meant = RENAMED.get(name.lower(), next((k for k in known if k.lower() == name.lower()), None))
    if meant in known:
        return f'unknown member "{name}" in {what}: write "{meant}"'
    return f"unknown member {name!r} in {what}: it may have {', '.join(known)}"


def _object(value: Value, what: str) -> dict[str, Member]:
    if not isinstance(value.data, dict):
        raise wrong(value, f"expected {what} to be an object {{...}}")
    return value.data


def _list(value: Value, what: str) -> list[Value]:
    if not isinstance(value.data, list):
        raise wrong(value, f"expected {what} to be a list [...]")
    return value.data


def _text(value: Value, what: str) -> str:
    if not isinstance(value.data, str):
        raise wrong(value, f"expected {what} to be a string in quotes")
    return value.data


def _needed(members: Mapping[str, Member], name: str, value: Value) -> Value:
    if name not in members:
        raise wrong(value, f'"{name}" is missing here')
    return members[name].value


def _section(sections: Mapping[str, Member], name: str) -> dict[str, Member]:
    return _object(sections[name].value, f'"{name}"') if name in sections else {}


def _section_items(sections: Mapping[str, Member], name: str) -> list[Value]:
    return _list(sections[name].value, f'"{name}"') if name in sections else []


def _place(member: Member) -> Value:
    return Value(member.name, member.line, member.column)


# --- groups, hosts, tagOwners ----------------------------------------------------------------------------------


def _names(sections: Mapping[str, Member]) -> Names:
    names = Names()
    for name, member in _section(sections, "groups").items():
        if not GROUP.fullmatch(name):
            raise wrong(_place(member), f'{name!r} is no group\'s name: write "group:" and letters, digits, . _ -')
        names.groups[name] = frozenset(_group_users(member, names))
    for name, member in _section(sections, "hosts").items():
        if not HOST.fullmatch(name):
            raise wrong(_place(member), f"{name!r} is no host's name: write a letter, then letters, digits, . _ -")
        names.hosts[name] = read_network(_text(member.value, f"host {name!r}"), member.value)
    for name, member in _section(sections, "tagOwners").items():
        if not TAG.fullmatch(name):
            raise wrong(_place(member), f'{name!r} is no tag: write "tag:", a letter, then letters, digits and -')
        names.tags.add(name)
    return names


def _group_users(member: Member, names: Names) -> Iterator[Atom]:
    for text, item in _distinct(member.value, member.name):
        if text.startswith("group:"):
            raise wrong(item, f"groups do not nest: name the users of {text!r} here")
        yield names.user(text, item)


def _tag_owners(sections: Mapping[str, Member], names: Names) -> Iterator[tuple[str, frozenset[Atom]]]:
    for tag, member in _section(sections, "tagOwners").items():
        owners = [names.read(text, item, OWNERS, '"tagOwners"') for text, item in _distinct(member.value, tag)]
        yield tag, frozenset().union(*owners)


def _distinct(value: Value, what: str) -> Iterator[tuple[str, Value]]:
    """The strings of a list; one that is there twice is refused."""
    seen: set[str] = set()
    for item in _list(value, what):
        text = _text(item, f"each item of {what}")
        if text in seen:
            raise wrong(item, f"{text!r} is in {what} twice: take one out")
        seen.add(text)
        yield text, item


# --- acls and grants -------------------------------------------------------------------------------------------


def _acl(value: Value, names: Names) -> Rule:
    members = _members(value, 'an item of "acls"', ("action", "proto", "src", "dst"))
    action = _needed(members, "action", value)
    if action.data != "accept":
        raise wrong(action, 'the only action is "accept": what no rule accepts is denied')
    protocols = (read_protocol(members["proto"].value),) if "proto" in members else ()
    sources = _sources(_needed(members, "src", value), names)
    targets = _targets(_needed(members, "dst", value), names, protocols)
    _check_self(sources, targets, _needed(members, "src", value))
    return Rule(sources, targets, protocols, value.line)


def _sources(value: Value, names: Names) -> frozenset[Atom]:
    found: set[Atom] = set()
    nets: set[Atom] = set()
    for text, item in _distinct(value, '"src"'):
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
    for text, item in _distinct(value, '"dst"'):
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


def _grant(value: Value, names: Names) -> list[Rule]:
    """One rule for each protocol that `ip` names, in the order of their first mention."""
    members = _members(value, 'an item of "grants"', ("src", "dst", "ip"))
    source_list, target_list = _needed(members, "src", value), _needed(members, "dst", value)
    sources = _sources(source_list, names)
    whom = [names.read(text, item, TARGETS, '"dst"') for text, item in _distinct(target_list, '"dst"')]
    if not whom:
        raise wrong(target_list, '"dst" names nothing: name a destination, or take the grant out')
    by_protocol: dict[tuple[int, ...], list[Ports]] = {}
    for text, item in _distinct(_needed(members, "ip", value), '"ip"'):
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


# --- tests -----------------------------------------------------------------------------------------------------


def _test(value: Value, names: Names) -> PolicyTest:
    members = _members(value, 'an item of "tests"', ("src", "proto", "accept", "deny"))
    source = _needed(members, "src", value)
    text = _text(source, '"src" of a test')
    atoms = names.read(text, source, TEST_SOURCES, '"src" of a test')
    _check_single(atoms, text, source)
    protocols = (read_protocol(members["proto"].value),) if "proto" in members else (PROTOCOLS["tcp"], PROTOCOLS["udp"])
    expectations: list[Expectation] = []
    for name in ("accept", "deny"):
        if name in members:
            expectations += _expectations(members[name].value, name, names, protocols)
    if not expectations:
        raise wrong(value, 'this test expects nothing: give it "accept" or "deny"')
    return PolicyTest(atoms, text, protocols, tuple(expectations), value.line)


def _expectations(value: Value, name: str, names: Names, protocols: tuple[int, ...]) -> Iterator[Expectation]:
    for text, item in _distinct(value, f'"{name}"'):
        who, ports = split_target(text, item)
        atoms = names.read(who, item, TEST_TARGETS, f'"{name}" of a test')
        _check_single(atoms, who, item)
        yield Expectation(atoms, _single_port(ports, protocols, item), name == "accept", text, item.line)


def _check_single(atoms: frozenset[Atom], text: str, item: Value) -> None:
    for atom in atoms:
        if atom.net is not None and atom.net.num_addresses > 1:
            raise wrong(item, f"{text!r} is the prefix {atom.net}: a test needs one address")


def _single_port(ports: Ports, protocols: tuple[int, ...], item: Value) -> int | None:
    with_ports = WITH_PORTS.issuperset(protocols)
    if with_ports and (len(ports) != 1 or ports[0][0] != ports[0][1]):
        raise wrong(item, "a test needs one port, as in tag:web:443")
    if not with_ports and ports != ALL_PORTS:
        raise wrong(item, f"protocol {protocols[0]} has no ports: write * for the port")
    return ports[0][0] if with_ports else None
