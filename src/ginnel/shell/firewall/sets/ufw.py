"""Rules of ufw that let this host out to the addresses, told from others by their comment (ufw: ufw(8)).

Room: shell. ufw has no sets: an address is held when all rules for it are there. New rules are added before old ones
are deleted, one command each.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection
from dataclasses import dataclass

from ginnel.core.firewall.checked import literal
from ginnel.core.firewall.sync_words import FAMILIES, Family, sorted_addresses
from ginnel.shell.firewall.sets import SetError
from ginnel.shell.firewall.sets.program import run
from ginnel.words import IpAddress

DEFAULT_PORTS = "443/tcp,3478/udp,80/tcp"
PORT = re.compile(r"([1-9][0-9]{0,4})/(tcp|udp)")
Port = tuple[str, str]


@dataclass(frozen=True, slots=True)
class UfwRules:
    """`ports`: (443, tcp) and such. `comment`: whose rules they are."""

    ports: tuple[Port, ...]
    comment: str = "ginnel sync"
    families: tuple[Family, ...] = FAMILIES
    batch: int = 16  # a fifth of a second each

    @classmethod
    def parse(cls, text: str) -> UfwRules:
        """`443/tcp,3478/udp`: what may leave for the addresses."""
        found = [PORT.fullmatch(part) for part in (text or DEFAULT_PORTS).split(",")]
        if not all(match and int(match[1]) < 65536 for match in found):
            raise SetError(f"--set {text!r} names no ports for ufw: expected {DEFAULT_PORTS}")
        return cls(tuple((match[1], match[2]) for match in found if match))

    async def prepare(self) -> None:
        """There is nothing to make."""

    async def read(self) -> frozenset[IpAddress]:
        rules = self._rules(await run(["ufw", "show", "added"]))
        return frozenset(ip for ip, ports in rules.items() if ports >= set(self.ports))

    def _rules(self, text: str) -> dict[IpAddress, set[Port]]:
        found: dict[IpAddress, set[Port]] = {}
        for line in text.splitlines():
            if line.startswith("ufw "):
                for address, port in [rule] if (rule := rule_in(line, self.comment)) else []:
                    found.setdefault(address, set()).add(port)
        return found

    async def change(self, adds: Collection[IpAddress], removes: Collection[IpAddress]) -> None:
        for address in sorted_addresses(adds):
            for port in self.ports:
                await run(["ufw", *rule_words(address, port), "comment", self.comment])
        there = self._rules(await run(["ufw", "show", "added"])) if removes else {}
        for address in sorted_addresses(removes):
            for port in sorted(there.get(address, ())):
                await run(["ufw", "delete", *rule_words(address, port)])


def rule_words(address: IpAddress, port: Port) -> list[str]:
    return ["allow", "out", "proto", port[1], "to", str(address), "port", port[0]]


def rule_in(line: str, comment: str) -> tuple[IpAddress, Port] | None:
    """What a line of `ufw show added` lets out, if it is one of ours."""
    try:
        words = shlex.split(line)
        named = dict(zip(words[3::2], words[4::2], strict=True))
    except ValueError:
        return None
    address = literal(named.get("to", ""))
    if words[:3] != ["ufw", "allow", "out"] or named.get("comment") != comment or address is None:
        return None
    if named.keys() != {"to", "port", "proto", "comment"}:
        return None
    return address, (named["port"], named["proto"])
