"""Aliases: the words by which a policy names sources and destinations (headscale: hscontrol/policy/v2/types.go).

Room: core. Text with its place becomes atoms; no sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address, ip_network

from ginnel.core.control.policy.model import Atom, Kind, Network, Ports
from ginnel.core.control.policy.ports import read_ports, wrong
from ginnel.wire.hujson import Value

USER = re.compile(r"[^\s@:/*\[\]()<>\"',]+@(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?)?")
GROUP = re.compile(r"group:[A-Za-z0-9][A-Za-z0-9._-]*")
TAG = re.compile(r"tag:[A-Za-z][A-Za-z0-9-]*")  # tailscale: tailcfg.CheckTag
HOST = re.compile(r"[A-Za-z][A-Za-z0-9._-]*")
AUTOGROUPS = {kind.value: kind for kind in Kind if kind.value.startswith("autogroup:")}

SOURCES = frozenset(Kind) - {Kind.SELF, Kind.INTERNET}
TARGETS = frozenset(Kind) - {Kind.DANGER_ALL}
OWNERS = frozenset({Kind.USER, Kind.TAG, Kind.MEMBER})
TEST_SOURCES = frozenset({Kind.USER, Kind.TAG, Kind.NET, Kind.MEMBER, Kind.TAGGED})
TEST_TARGETS = TEST_SOURCES | {Kind.INTERNET}


@dataclass(slots=True)
class Names:
    """What aliases may refer to, and which users they did (with the line of the first time)."""

    groups: dict[str, frozenset[Atom]] = field(default_factory=dict)
    hosts: dict[str, Network] = field(default_factory=dict)
    tags: set[str] = field(default_factory=set)
    users: dict[str, int] = field(default_factory=dict)

    def read(self, text: str, value: Value, allowed: frozenset[Kind], where: str) -> frozenset[Atom]:
        """The atoms of one alias. Raises PolicyError at `value` for what is unknown or not allowed in `where`."""
        atoms = self._look_up(text, value)
        for atom in atoms:
            if atom.kind not in allowed:
                raise wrong(value, f"{text!r} cannot stand in {where}{_INSTEAD.get(atom.kind, '')}")
        return atoms

    def _look_up(self, text: str, value: Value) -> frozenset[Atom]:
        if text.startswith("group:"):
            return self._group(text, value)
        return frozenset({self._one(text, value)})

    def _group(self, text: str, value: Value) -> frozenset[Atom]:
        if text not in self.groups:
            raise wrong(value, f'unknown {text!r}: add it to "groups"')
        return self.groups[text]

    def _one(self, text: str, value: Value) -> Atom:
        if text == "*":
            return Atom(Kind.ANY)
        if text.startswith("tag:"):
            return self.tag(text, value)
        if text.startswith("autogroup:"):
            return Atom(_autogroup(text, value))
        if "@" in text:
            return self.user(text, value)
        if text in self.hosts:
            return Atom(Kind.NET, net=self.hosts[text])
        if HOST.fullmatch(text):
            raise wrong(value, f'unknown host {text!r}: add it to "hosts", or write "{text}@" for the user')
        return Atom(Kind.NET, net=read_network(text, value))

    def tag(self, text: str, value: Value) -> Atom:
        if text not in self.tags:
            raise wrong(value, f'unknown {text!r}: add it to "tagOwners"')
        return Atom(Kind.TAG, text)

    def user(self, text: str, value: Value) -> Atom:
        if not USER.fullmatch(text):
            raise wrong(value, f'{text!r} is no user: write "alice@" or "alice@example.com"')
        self.users.setdefault(text, value.line)
        return Atom(Kind.USER, text)


_INSTEAD = {
    Kind.SELF: ': it is a destination in "acls" and "grants", beside users as sources',
    Kind.INTERNET: ": it is a destination, for what exit nodes reach",
    Kind.DANGER_ALL: ': it is a source; write "*"',
}


def _autogroup(text: str, value: Value) -> Kind:
    if text not in AUTOGROUPS:
        raise wrong(value, f"{text!r} is not supported: write one of {', '.join(sorted(AUTOGROUPS))}")
    return AUTOGROUPS[text]


def read_network(text: str, value: Value) -> Network:
    """An address or a prefix, in the one spelling that it has. Raises PolicyError."""
    written, slash, length = text.partition("/")
    try:
        address = ip_address(written)
        bits = int(length) if slash else address.max_prefixlen
        network = ip_network((address, bits), strict=False)
    except ValueError:
        raise wrong(
            value, f"{text!r} is no user, group, tag, autogroup, host, address or prefix{_hint(text)}"
        ) from None
    if slash and length != str(bits):
        raise wrong(value, f"{text!r} is no prefix: write {written}/{bits}")
    if isinstance(address, IPv6Address) and (address.ipv4_mapped or address.scope_id):
        raise wrong(value, f"{text!r} has another spelling: write {address.ipv4_mapped or written.partition('%')[0]}")
    if network.network_address != address:
        raise wrong(value, f"{text!r} has host bits set: write {network} for the prefix, {address} for the address")
    return network


def _hint(text: str) -> str:
    if "[" in text or "]" in text:
        return ": brackets stand only around IPv6 addresses in destinations with ports"
    return ""


def split_target(text: str, value: Value) -> tuple[str, Ports]:
    """`alias:ports` or `[IPv6]:ports` or `[IPv6]/length:ports`, apart. Raises PolicyError."""
    if text.startswith("["):
        return _split_brackets(text, value)
    who, colon, ports = text.rpartition(":")
    if not colon or who in ("group", "tag", "autogroup"):
        raise wrong(value, f'{text!r} names no ports: write "{text}:*" for all')
    if ":" in who and not who.startswith(("group:", "tag:", "autogroup:")):
        raise wrong(value, f"{text!r}: IPv6 addresses stand in brackets before the ports, as in [2001:db8::1]:22")
    return who, read_ports(ports, value)


_BRACKETS = re.compile(r"\[([^\[\]/]*:[^\[\]/]*)\](/[^\[\]/:]*)?:(.*)", re.DOTALL)


def _split_brackets(text: str, value: Value) -> tuple[str, Ports]:
    found = _BRACKETS.fullmatch(text)
    if found is None:
        raise wrong(value, f"{text!r} is no destination: write [2001:db8::1]:22 or [2001:db8::]/32:22")
    address, length, ports = found.groups()
    return address + (length or ""), read_ports(ports, value)
