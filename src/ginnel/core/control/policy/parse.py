"""HuJSON text becomes a Policy, or one error that names its line and says what to write instead.

Room: core. No sockets, clocks, files, randomness or logs come in.

The language is headscale's (hscontrol/policy/v2/types.go); docs/policy.md tells it. Nothing is skipped in silence: a
member that would mean something elsewhere and is not understood here refuses the whole policy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from ginnel.core.control.policy.aliases import GROUP, HOST, OWNERS, TAG, Names, read_network
from ginnel.core.control.policy.expectations import read_test
from ginnel.core.control.policy.model import NO_POLICY, Atom, Kind, NodeAttr, Policy, PolicyError
from ginnel.core.control.policy.nodeattrs import RANDOMIZE_CLIENT_PORT, read_node_attr
from ginnel.core.control.policy.ports import wrong
from ginnel.core.control.policy.rules import read_acl, read_grant
from ginnel.core.control.policy.shape import (
    place_of,
    read_distinct,
    read_flag,
    read_members,
    read_text,
    section,
    section_items,
)
from ginnel.wire import hujson
from ginnel.wire.hujson import HujsonError, Member

SECTIONS = ("groups", "hosts", "tagOwners", "acls", "grants", "nodeAttrs", "randomizeClientPort", "tests")


def parse_policy(text: str) -> Policy:
    """Read a policy file. Raises PolicyError; the tests in it are read, not run (`run_tests`)."""
    try:
        document = hujson.parse(text)
    except HujsonError as error:
        raise PolicyError(error.line, error.column, error.message) from None
    sections = read_members(document, "the policy", SECTIONS)
    names = _names(sections)
    tag_owners = dict(_tag_owners(sections, names))
    rules = [read_acl(item, names) for item in section_items(sections, "acls")]
    for item in section_items(sections, "grants"):
        rules += read_grant(item, names)
    if "acls" not in sections and "grants" not in sections:
        rules = list(NO_POLICY.rules)
    tests = [read_test(item, names) for item in section_items(sections, "tests")]
    attributes = tuple(_node_attrs(sections, names))
    return Policy(tuple(rules), MappingProxyType(tag_owners), tuple(tests), MappingProxyType(names.users), attributes)


def _names(sections: Mapping[str, Member]) -> Names:
    names = Names()
    for name, member in section(sections, "groups").items():
        if not GROUP.fullmatch(name):
            raise wrong(place_of(member), f'{name!r} is no group\'s name: write "group:" and letters, digits, . _ -')
        names.groups[name] = frozenset(_group_users(member, names))
    for name, member in section(sections, "hosts").items():
        if not HOST.fullmatch(name):
            raise wrong(place_of(member), f"{name!r} is no host's name: write a letter, then letters, digits, . _ -")
        names.hosts[name] = read_network(read_text(member.value, f"host {name!r}"), member.value)
    for name, member in section(sections, "tagOwners").items():
        if not TAG.fullmatch(name):
            raise wrong(place_of(member), f'{name!r} is no tag: write "tag:", a letter, then letters, digits and -')
        names.tags.add(name)
    return names


def _group_users(member: Member, names: Names) -> Iterator[Atom]:
    for text, item in read_distinct(member.value, member.name):
        if text.startswith("group:"):
            raise wrong(item, f"groups do not nest: name the users of {text!r} here")
        yield names.user(text, item)


def _tag_owners(sections: Mapping[str, Member], names: Names) -> Iterator[tuple[str, frozenset[Atom]]]:
    for tag, member in section(sections, "tagOwners").items():
        owners = [names.read(text, item, OWNERS, '"tagOwners"') for text, item in read_distinct(member.value, tag)]
        yield tag, frozenset().union(*owners)


def _node_attrs(sections: Mapping[str, Member], names: Names) -> Iterator[NodeAttr]:
    flag = sections.get("randomizeClientPort")
    if flag is not None and read_flag(flag.value, '"randomizeClientPort"'):
        yield NodeAttr(frozenset({Atom(Kind.ANY)}), (RANDOMIZE_CLIENT_PORT,))
    for item in section_items(sections, "nodeAttrs"):
        yield read_node_attr(item, names)
