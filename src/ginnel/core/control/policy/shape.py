"""The shapes that a policy is made of: objects with known members, lists without repeats, strings.

Room: core. No sockets, clocks, files, randomness or logs come in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ginnel.core.control.policy.model import PolicyError
from ginnel.core.control.policy.ports import wrong
from ginnel.wire.hujson import Member, Value

LATER = frozenset({
    "autoApprovers", "ssh", "sshTests", "postures", "defaultSrcPosture", "ipsets", "ipPool",
    "derpMap", "disableIPv4", "OneCGNATRoute", "extraDNSRecords", "app", "via", "srcPosture", "srcPostureAttrs",
})  # fmt: skip
RENAMED = {"users": "src", "ports": "dst", "user": "src", "allow": "accept"}  # spellings of older policies


def read_members(value: Value, what: str, known: tuple[str, ...]) -> dict[str, Member]:
    members = read_object(value, what)
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


def read_object(value: Value, what: str) -> dict[str, Member]:
    if not isinstance(value.data, dict):
        raise wrong(value, f"expected {what} to be an object {{...}}")
    return value.data


def read_list(value: Value, what: str) -> list[Value]:
    if not isinstance(value.data, list):
        raise wrong(value, f"expected {what} to be a list [...]")
    return value.data


def read_text(value: Value, what: str) -> str:
    if not isinstance(value.data, str):
        raise wrong(value, f"expected {what} to be a string in quotes")
    return value.data


def read_flag(value: Value, what: str) -> bool:
    if not isinstance(value.data, bool):
        raise wrong(value, f"expected {what} to be true or false")
    return value.data


def needed(members: Mapping[str, Member], name: str, value: Value) -> Value:
    if name not in members:
        raise wrong(value, f'"{name}" is missing here')
    return members[name].value


def section(sections: Mapping[str, Member], name: str) -> dict[str, Member]:
    return read_object(sections[name].value, f'"{name}"') if name in sections else {}


def section_items(sections: Mapping[str, Member], name: str) -> list[Value]:
    return read_list(sections[name].value, f'"{name}"') if name in sections else []


def place_of(member: Member) -> Value:
    return Value(member.name, member.line, member.column)


def read_distinct(value: Value, what: str) -> Iterator[tuple[str, Value]]:
    """The strings of a list; one that is there twice is refused."""
    seen: set[str] = set()
    for item in read_list(value, what):
        text = read_text(item, f"each item of {what}")
        if text in seen:
            raise wrong(item, f"{text!r} is in {what} twice: take one out")
        seen.add(text)
        yield text, item
