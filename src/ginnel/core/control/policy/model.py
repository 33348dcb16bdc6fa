"""What a policy says once it is read: groups, tag owners, rules and tests, and the nodes that it speaks about.

Room: core. Values only: no sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Network, IPv6Network
from types import MappingProxyType

from ginnel.words import IpAddress, NodeId

Network = IPv4Network | IPv6Network


class PolicyError(Exception):
    """The policy is refused. str() is one line, `policy line 12: ...`, that says what to write instead."""

    def __init__(self, line: int, column: int, message: str) -> None:
        self.line = line
        self.column = column
        self.message = _one_line(message)
        super().__init__(f"policy line {line}: {self.message}")


def _one_line(message: str) -> str:
    """Messages quote the policy: neither line breaks nor terminal escapes nor a megabyte of it reach the reader."""
    shown = "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in message[:10_000])
    return shown if len(shown) <= 400 else f"{shown[:200]} ... {shown[-180:]}"


@dataclass(frozen=True, slots=True)
class PolicyNode:
    """A node as policy sees it.

    `user`: the login name of the owner; a node with tags acts as its tags alone and has no user's rights.
    `addresses`: the node's own, one per family. `routes`: approved ones only; 0.0.0.0/0 or ::/0 makes an exit node.
    """

    id: NodeId
    user: str
    tags: frozenset[str]
    addresses: tuple[IpAddress, ...]
    routes: tuple[Network, ...] = ()


class Kind(Enum):
    """What an alias stands for, once groups and hosts are looked up."""

    USER = "user"
    TAG = "tag"
    NET = "net"  # an address, a prefix or an entry of "hosts"
    ANY = "*"
    MEMBER = "autogroup:member"
    TAGGED = "autogroup:tagged"
    SELF = "autogroup:self"
    INTERNET = "autogroup:internet"
    DANGER_ALL = "autogroup:danger-all"


@dataclass(frozen=True, slots=True)
class Atom:
    """One alias without names left to look up. A group is the set of its users."""

    kind: Kind
    name: str = ""  # USER: `alice@` or `alice@example.com`; TAG: with `tag:`
    net: Network | None = None


Ports = tuple[tuple[int, int], ...]
"""Ranges, first and last inclusive, in order and apart."""

ALL_PORTS: Ports = ((0, 65535),)


@dataclass(frozen=True, slots=True)
class Target:
    """One item of `dst`: who (one atom, or a group's users) and which ports."""

    atoms: frozenset[Atom]
    ports: Ports


@dataclass(frozen=True, slots=True)
class Rule:
    """`sources` may reach `targets` by `protocols` (none named: TCP, UDP and both ICMPs)."""

    sources: frozenset[Atom]
    targets: tuple[Target, ...]
    protocols: tuple[int, ...] = ()
    line: int = 0


@dataclass(frozen=True, slots=True)
class Expectation:
    """One destination of a policy test: `text` as written, one port (none where the protocol has no ports)."""

    target: frozenset[Atom]
    port: int | None
    accept: bool
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class PolicyTest:
    """An item of `tests`: from `source` by `protocols` (any of them will do), all expectations hold."""

    source: frozenset[Atom]
    source_text: str
    protocols: tuple[int, ...]
    expectations: tuple[Expectation, ...]
    line: int


@dataclass(frozen=True, slots=True)
class NodeAttr:
    """An item of `nodeAttrs`: the holders' nodes are told these attributes."""

    holders: frozenset[Atom]
    attributes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that was read whole and found right. `users`: each user it names, with the line of the first time."""

    rules: tuple[Rule, ...] = ()
    tag_owners: Mapping[str, frozenset[Atom]] = field(default_factory=lambda: MappingProxyType({}))
    tests: tuple[PolicyTest, ...] = ()
    users: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    node_attrs: tuple[NodeAttr, ...] = ()


_EVERYTHING = Rule(
    sources=frozenset({Atom(Kind.DANGER_ALL)}), targets=(Target(frozenset({Atom(Kind.ANY)}), ALL_PORTS),)
)

NO_POLICY = Policy(rules=(_EVERYTHING,))
"""No policy was ever set: the tailnet's own members may all talk, nobody may request a tag. A policy that cannot be
read is not this: keep the previous one, or DENY_ALL."""

DENY_ALL = Policy()


def user_name(login: str) -> str:
    """A login name as policies write it: `alice` is `alice@`, `alice@example.com` stays."""
    return login if "@" in login else login + "@"
