"""Named sets of nftables, one for each family (nftables: nft(8) SETS, libnftables-json(5)).

Room: shell. Each change is one transaction, in JSON by standard input: names are values there, never words of a
language.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network, summarize_address_range
from typing import Any

from ginnel.core.firewall.sync_words import FAMILIES, MAX_ADDRESSES, Family, sorted_addresses
from ginnel.shell.firewall.sets import SetError
from ginnel.shell.firewall.sets.program import run
from ginnel.words import IpAddress

NFT_FAMILIES = ("ip", "ip6", "inet", "bridge", "netdev")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,126}")
TYPES = {4: "ipv4_addr", 6: "ipv6_addr"}
RANGE_LIMIT = 1024
"""Addresses of one range: adjacent ones are joined in sets with `auto-merge`; a range of more is not of our making."""


@dataclass(frozen=True, slots=True)
class NftSet:
    """`names`: of the set for each family."""

    family: str
    table: str
    names: dict[Family, str]
    batch: int = 8192

    @property
    def families(self) -> tuple[Family, ...]:
        return tuple(self.names)

    @classmethod
    def parse(cls, text: str) -> NftSet:
        """`inet/filter/ginnel4,ginnel6`: the set for IPv4, then the one for IPv6; either may be empty."""
        try:
            family, table, names = text.split("/")
        except ValueError:
            raise SetError(f"--set {text!r} names no set of nftables: expected inet/filter/ginnel4,ginnel6") from None
        named = dict(zip(FAMILIES, names.split(","), strict=False))
        used = {number: name for number, name in named.items() if name}
        if family not in NFT_FAMILIES or names.count(",") > 1 or not used:
            raise SetError(f"--set {text!r} names no set of nftables: expected inet/filter/ginnel4,ginnel6")
        for name in (table, *used.values()):
            if not NAME.fullmatch(name):
                raise SetError(f"{name!r} is no name of an nftables table or set")
        if len(set(used.values())) < len(used):
            raise SetError(f"--set {text!r}: a set holds one family, so two need two sets")
        return cls(family, table, used)

    async def prepare(self) -> None:
        """The table too. A set that is there stays as it is, unless its type differs."""
        table = {"add": {"table": {"family": self.family, "name": self.table}}}
        sets = [{"add": {"set": {**self._named(f), "type": TYPES[f]}}} for f in self.names]
        await self._transaction([table, *sets])

    async def read(self) -> frozenset[IpAddress]:
        found: set[IpAddress] = set()
        for family, name in self.names.items():
            found |= elements_of(await self._listed(family, name), family, name)
        return frozenset(found)

    async def _listed(self, family: Family, name: str) -> str:
        try:
            return await run(["nft", "-j", "list", "set", self.family, self.table, name])
        except SetError as error:
            if "No such file or directory" not in str(error):
                raise
            place = f"{self.family} {self.table} {name}"
            made = f"nft add set {place} '{{ type {TYPES[family]}; }}'"
            raise SetError(f"there is no set {place}: make it by `{made}`, or give --create") from None

    async def change(self, adds: Collection[IpAddress], removes: Collection[IpAddress]) -> None:
        orders = [
            {verb: {"element": {**self._named(family), "elem": elements}}}
            for verb, addresses in (("add", adds), ("delete", removes))
            for family in self.names
            if (elements := [str(ip) for ip in sorted_addresses(addresses) if ip.version == family])
        ]
        await self._transaction(orders)

    def _named(self, family: Family) -> dict[str, str]:
        return {"family": self.family, "table": self.table, "name": self.names[family]}

    async def _transaction(self, orders: list[Any]) -> None:
        if orders:
            await run(["nft", "-j", "-f", "-"], json.dumps({"nftables": orders}))


def elements_of(text: str, family: Family, name: str) -> frozenset[IpAddress]:
    """The addresses in what `nft -j list set` prints. Raises SetError for a set that cannot hold single addresses
    for good."""
    try:
        described = next(entry["set"] for entry in json.loads(text)["nftables"] if "set" in entry)
        kind, elements = described["type"], described.get("elem", [])
    except (ValueError, KeyError, TypeError, StopIteration):
        raise SetError("nft printed no set: is it older than 0.9.1, or built without JSON?") from None
    if kind != TYPES[family]:
        raise SetError(f"the set {name} is of type {kind}, expected {TYPES[family]}")
    if "timeout" in described.get("flags", []) and "timeout" in described:
        raise SetError(f"the set {name} forgets its elements after a time: make it without `timeout`")
    try:
        found = frozenset(ip for element in elements for ip in _addresses(element, name))
    except (ValueError, KeyError, TypeError):
        raise SetError(f"the set {name} holds something that is no address") from None
    if len(found) > MAX_ADDRESSES:
        raise SetError(f"the set {name} holds {len(found)} addresses, {MAX_ADDRESSES} are the most")
    return found


def _addresses(element: Any, name: str) -> Iterator[IpAddress]:
    match element:
        case str():
            yield ip_address(element)
        case {"elem": {"val": value}}:  # with a comment, a counter or a timeout
            yield from _addresses(value, name)
        case {"prefix": {"addr": address, "len": length}}:
            yield from _all_of(ip_network(f"{address}/{length}"), name)
        case {"range": [first, last]}:
            for network in summarize_address_range(ip_address(first), ip_address(last)):
                yield from _all_of(network, name)
        case _:
            raise ValueError(element)


def _all_of(network: IPv4Network | IPv6Network, name: str) -> Iterator[IpAddress]:
    if network.num_addresses > RANGE_LIMIT:
        raise SetError(f"the set {name} holds {network}: give ginnel a set of its own")
    yield from network
