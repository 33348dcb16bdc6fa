"""ipsets of firewalld, in the running firewall and in its permanent configuration (firewalld: firewall-cmd(1)).

Room: shell. A reload drops what is not permanent, so both are written; what is read is what runs.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from ipaddress import ip_address

from ginnel.core.firewall.sync_words import Family, sorted_addresses
from ginnel.shell.firewall.sets import SetError
from ginnel.shell.firewall.sets.ipset import FAMILY_WORDS, TYPE, parse_names
from ginnel.shell.firewall.sets.program import run
from ginnel.words import IpAddress

AT_ONCE = 200  # entries in one command line


LISTINGS = (("--list-all-zones",), ("--list-all-policies",), ("--direct", "--get-all-rules"),
            ("--direct", "--get-all-passthroughs"), ("--direct", "--get-all-chains"))  # fmt: skip
KEPT = ("interfaces:", "ipset:")  # what a reload leaves as it is


def plain(listing: str) -> list[str]:
    """Each line behind its zone's name, so that it can be looked for in another listing."""
    got, zone = [], ""
    for line in listing.splitlines():
        words = line.split()
        if words and not line.startswith((" ", "\t")) and not line.startswith(("ipv4", "ipv6", "eb")):
            zone = words[0]
        elif words and words[0] not in KEPT:
            got.append(" ".join([zone, *words]).strip())
    return got


@dataclass(frozen=True, slots=True)
class FirewalldSet:
    """`command`: firewall-cmd, or firewall-offline-cmd where firewalld does not run."""

    names: dict[Family, str]
    command: str = "firewall-cmd"
    batch: int = 2000

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(self.names)

    @classmethod
    def parse(cls, text: str) -> FirewalldSet:
        return cls(parse_names(text))

    @property
    def _configurations(self) -> tuple[list[str], ...]:
        """The permanent one last: what runs is what matters."""
        return ([],) if self.command == "firewall-offline-cmd" else ([], ["--permanent"])

    async def prepare(self) -> None:
        """A set is made in the permanent configuration, and is there after a reload: firewalld has no other way. What
        others have set for now alone would be gone by that, so where there is such nothing is done."""
        permanent = self._configurations[-1]
        lacking = [await self._lacking(configuration) for configuration in self._configurations]
        if len(lacking) > 1 and lacking[0]:
            await self._refuse_loss(lacking[0])
        for family, name in lacking[-1].items():
            kind = [f"--new-ipset={name}", f"--type={TYPE}", f"--option=family={FAMILY_WORDS[family]}"]
            await run([self.command, *permanent, *kind])
        if len(lacking) > 1 and lacking[0]:
            await run([self.command, "--reload"])

    async def _lacking(self, configuration: list[str]) -> dict[Family, str]:
        there = (await run([self.command, *configuration, "--get-ipsets"])).split()
        return {family: name for family, name in self.names.items() if name not in there}

    async def _refuse_loss(self, lacking: dict[Family, str]) -> None:
        for what in LISTINGS:
            now, later = [plain(await run([self.command, *p, *what])) for p in self._configurations]
            lost = [line for line in now if line not in later]
            if lost:
                names = " and ".join(lacking.values())
                raise SetError(
                    f"to make {names} firewalld must reload, which drops what is not permanent ({lost[0][:80]}): keep "
                    "that by `firewall-cmd --runtime-to-permanent`, or reload firewalld yourself, and repeat"
                )

    async def read(self) -> frozenset[IpAddress]:
        found: set[IpAddress] = set()
        for name in self.names.values():
            entries = (await run([self.command, f"--ipset={name}", "--get-entries"])).split()
            try:
                found |= {ip_address(entry) for entry in entries}
            except ValueError:
                raise SetError(f"the ipset {name} of firewalld holds something that is no address") from None
        return frozenset(found)

    async def change(self, adds: Collection[IpAddress], removes: Collection[IpAddress]) -> None:
        for family, name in self.names.items():
            for verb, addresses in (("add", adds), ("remove", removes)):
                ours = [ip for ip in sorted_addresses(addresses) if ip.version == family]
                for first in range(0, len(ours), AT_ONCE):
                    await self._entries(name, verb, ours[first : first + AT_ONCE])

    async def _entries(self, name: str, verb: str, addresses: list[IpAddress]) -> None:
        words = [f"--{verb}-entry={ip}" for ip in addresses]
        for configuration in self._configurations:
            await run([self.command, *configuration, f"--ipset={name}", *words])
