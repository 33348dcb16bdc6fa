"""A set that some other program keeps: it is told by JSON on its standard input what to do.

Room: shell. It is started by its argument list, with one of
    {"op": "read"}                                          -> {"addresses": ["192.0.2.1", ...]} on standard output
    {"op": "change", "add": [...], "remove": [...]}         -> exit status 0 when all of it is done
    {"op": "prepare"}
and whatever exit status but 0 means that it failed.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from ginnel.core.firewall.sync_words import FAMILIES, MAX_ADDRESSES, Family, sorted_addresses
from ginnel.shell.firewall.sets import SetError
from ginnel.shell.firewall.sets.program import run
from ginnel.words import IpAddress


@dataclass(frozen=True, slots=True)
class CommandSet:
    argv: tuple[str, ...]
    families: tuple[Family, ...] = FAMILIES
    batch: int = 4096

    @classmethod
    def parse(cls, text: str) -> CommandSet:
        """A JSON array: `["/usr/local/sbin/router-list", "--site", "north"]`; the program with its whole path."""
        try:
            argv = json.loads(text)
        except ValueError:
            argv = None
        if not (isinstance(argv, list) and argv and all(isinstance(word, str) and "\0" not in word for word in argv)):
            raise SetError(f'--set {text!r} is no command: expected a JSON array such as ["/usr/local/sbin/apply"]')
        if not argv[0].startswith("/"):
            raise SetError(f"the command {argv[0]!r} needs its whole path")
        return cls(tuple(argv))

    async def prepare(self) -> None:
        await self._tell({"op": "prepare"})

    async def read(self) -> frozenset[IpAddress]:
        text = await self._tell({"op": "read"})
        try:
            addresses = json.loads(text)["addresses"]
            if not isinstance(addresses, list) or not all(isinstance(one, str) for one in addresses):
                raise TypeError
            found = frozenset(map(ip_address, addresses))
        except (ValueError, KeyError, TypeError):
            raise SetError(f'{self.argv[0]} answered {text[:80]!r}, expected {{"addresses": [...]}}') from None
        if len(found) > MAX_ADDRESSES:
            raise SetError(f"{self.argv[0]} names {len(found)} addresses, {MAX_ADDRESSES} are the most")
        return found

    async def change(self, adds: Collection[IpAddress], removes: Collection[IpAddress]) -> None:
        add, remove = ([str(ip) for ip in sorted_addresses(addresses)] for addresses in (adds, removes))
        await self._tell({"op": "change", "add": add, "remove": remove})

    async def _tell(self, order: dict[str, object]) -> str:
        return await run(self.argv, json.dumps(order) + "\n")
