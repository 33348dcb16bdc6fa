"""What a relay tells clients whose DNS fails: the names it was given, and which of their addresses go out.

Room: core. Source: tailscale: cmd/derper/bootstrap_dns.go. Other than derper it tells public addresses alone, and those
that the operator wrote down: what a name means in the relay's own network helps nobody outside, and tells of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from ginnel.core.firewall.checked import Refused, checked_name, is_public
from ginnel.core.relaydns.zone import HostAddresses
from ginnel.words import IpAddress

MOST_NAMES = 64


@dataclass(frozen=True, slots=True)
class BootstrapNames:
    """In lower case. `unpublished` are told to who asks for them by name. `given`: addresses that the operator wrote
    down for a name; they stand in the answer whatever DNS says."""

    published: frozenset[str] = frozenset()
    unpublished: frozenset[str] = frozenset()
    given: Mapping[str, tuple[IpAddress, ...]] = field(default_factory=dict)

    @property
    def every(self) -> frozenset[str]:
        return self.published | self.unpublished

    def with_published(self, names: Iterable[str]) -> BootstrapNames:
        """These too, as far as they are names and there is room."""
        room = max(MOST_NAMES - len(self.every), 0)
        more = [name for name in usable_names(names) if name not in self.every][:room]
        return BootstrapNames(self.published | set(more), self.unpublished, self.given)

    def answers(
        self, known: Mapping[str, HostAddresses], shuffle: Callable[[list[IpAddress]], None]
    ) -> tuple[dict[str, list[IpAddress]], dict[str, list[IpAddress]]]:
        """What is published and what is not. Names without an address are left out; the order is drawn, so that clients
        don't all take the same address first."""
        allowed = frozenset(ip for given in self.given.values() for ip in given)
        told: dict[str, list[IpAddress]] = {}
        for name in self.every:
            host = known.get(name, HostAddresses())
            found: list[IpAddress] = [*(host.v4 or ()), *(host.v6 or ())]
            found = [ip for ip in found if is_public(ip) or ip in allowed]
            told[name] = list(dict.fromkeys([*self.given.get(name, ()), *found]))
            shuffle(told[name])
        published = {name: told[name] for name in sorted(self.published) if told[name]}
        return published, {name: told[name] for name in sorted(self.unpublished - self.published) if told[name]}


def usable_names(names: Iterable[str]) -> list[str]:
    """Addresses and what cannot be a name are passed over."""
    return [checked for name in names if (checked := _usable(name))]


def names_of(text: str) -> frozenset[str]:
    """derper's flag: names with commas between. Raises Refused, with one line."""
    if "/" in text:
        raise Refused("names with the percentage of a TXT record behind a slash are not supported: give names alone")
    return frozenset(checked_name(name.strip()) for name in text.split(",") if name.strip())


def _usable(name: str) -> str:
    try:
        return checked_name(name)
    except Refused:
        return ""
