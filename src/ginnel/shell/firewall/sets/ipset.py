"""Sets of ipset, for iptables (ipset: ipset(8)).

Room: shell. `ipset restore -exist` reads one order a line: names are checked, and addresses are addresses.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from ginnel.core.firewall.sync_words import FAMILIES, Family, sorted_addresses
from ginnel.shell.firewall.sets import SetError
from ginnel.shell.firewall.sets.program import run
from ginnel.words import IpAddress

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,30}")
FAMILY_WORDS: dict[Family, str] = {4: "inet", 6: "inet6"}
TYPE = "hash:ip"


def parse_names(text: str, example: str = "ginnel4,ginnel6") -> dict[Family, str]:
    """The set for IPv4, then the one for IPv6; either may be empty. Raises SetError."""
    named = {family: name for family, name in zip(FAMILIES, text.split(","), strict=False) if name}
    if not named or text.count(",") > 1 or len(set(named.values())) < len(named):
        raise SetError(f"--set {text!r} names no two sets: expected {example}")
    for name in named.values():
        if not NAME.fullmatch(name):
            raise SetError(f"{name!r} is no name of a set: letters, digits, `_`, `.` and `-`, 31 at most")
    return named


@dataclass(frozen=True, slots=True)
class IpSet:
    names: dict[Family, str]
    batch: int = 8192

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(self.names)

    @classmethod
    def parse(cls, text: str) -> IpSet:
        return cls(parse_names(text))

    async def prepare(self) -> None:
        for family, name in self.names.items():
            await run(["ipset", "create", name, TYPE, "family", FAMILY_WORDS[family], "-exist"])

    async def read(self) -> frozenset[IpAddress]:
        found: set[IpAddress] = set()
        for family, name in self.names.items():
            found |= entries_of(await _saved(family, name), family, name)
        return frozenset(found)

    async def change(self, adds: Collection[IpAddress], removes: Collection[IpAddress]) -> None:
        lines = [
            f"{verb} {self.names[family]} {ip}\n"
            for verb, addresses in (("add", adds), ("del", removes))
            for ip in sorted_addresses(addresses)
            for family in self.names
            if ip.version == family
        ]
        if lines:
            await run(["ipset", "restore", "-exist"], "".join(lines))


async def _saved(family: Family, name: str) -> str:
    try:
        return await run(["ipset", "save", name])
    except SetError as error:
        if "does not exist" not in str(error):
            raise
        made = f"ipset create {name} {TYPE} family {FAMILY_WORDS[family]}"
        raise SetError(f"there is no set {name}: make it by `{made}`, or give --create") from None


def entries_of(text: str, family: Family, name: str) -> frozenset[IpAddress]:
    """The addresses in what `ipset save` prints. Raises SetError."""
    lines = [line.split() for line in text.splitlines() if line.strip()]
    heads = [line for line in lines if line[:2] == ["create", name]]
    if not heads or TYPE not in heads[0][2:3] or FAMILY_WORDS[family] not in heads[0]:
        raise SetError(f"the set {name} is no {TYPE} set of family {FAMILY_WORDS[family]}")
    if "timeout" in heads[0]:
        raise SetError(f"the set {name} forgets its entries after a time: make it without `timeout`")
    try:
        return frozenset(ip_address(line[2]) for line in lines if line[0] == "add")
    except (ValueError, IndexError):
        raise SetError(f"the set {name} holds something that is no address") from None
