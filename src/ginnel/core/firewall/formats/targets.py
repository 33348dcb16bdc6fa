"""Where a need goes: everywhere, to addresses, to names that a firewall resolves, or to names that clients say in TLS.

Room: core. Which names fit depends on the firewall. One that resolves names into addresses wants `derpN-all`, which
stands for a whole region; one that reads TLS wants the names of the nodes, since nobody ever says `derpN-all` in a
handshake (tailscale: derp/derphttp dials a node's HostName).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ginnel.core.firewall.formats.check import CannotExpress
from ginnel.core.firewall.needs import Direction, Host, Level, Need, Plan, Role
from ginnel.words import IpAddress

Family = Literal[4, 6]
ANYWHERE = {4: "0.0.0.0/0", 6: "::/0"}


@dataclass(frozen=True, slots=True)
class Row:
    """One need in one address family, for a firewall that knows addresses alone. to: () is anywhere."""

    need: Need
    family: Family
    to: tuple[IpAddress, ...] = ()

    @property
    def set_name(self) -> str:
        """What a named set of these addresses is called."""
        return f"ginnel_{self.need.id.replace('-', '_')}_v{self.family}"


def addresses(need: Need, family: Family) -> tuple[IpAddress, ...]:
    return tuple(sorted({a for host in need.hosts for a in host.addresses if a.version == family}, key=int))


def rows(plan: Plan, direction: Direction) -> list[Row]:
    """Every need of a direction in each of its families. Raises CannotExpress where a pinned host has no address."""
    return [row for need in plan.needs if need.direction == direction for row in rows_of(need)]


def rows_of(need: Need) -> list[Row]:
    missing = list(unresolved(need))
    if missing:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise CannotExpress(
            f"need {need.id} is pinned to {missing[0]}{more}, of which no address is known, and this format takes"
            " addresses alone: give --resolve, or choose a format that takes names (--list)"
        )
    found = [Row(need, family, addresses(need, family)) for family in need.families]
    if not need.hosts:
        return found
    reached = [row for row in found if row.to]  # a pinned need without IPv6 must not become IPv6 to everywhere
    if not reached:
        raise CannotExpress(f"need {need.id} is pinned to hosts without an address of its families: give --resolve")
    return reached


def unresolved(need: Need) -> Iterator[str]:
    """Names without an address of their own or of their region."""
    known = {_group(host) for host in need.hosts if host.addresses and host.level is Level.L3}
    nodes = [host for host in need.hosts if host.role is Role.RELAY and host.level is Level.SNI]
    dark = {_group(host) for host in nodes if not host.addresses}
    known |= {_group(host) for host in nodes} - dark
    yield from (host.name for host in need.hosts if not host.addresses and _group(host) not in known)


def _group(host: Host) -> object:
    return host.region if host.role is Role.RELAY else host.name


@dataclass(frozen=True, slots=True)
class Named:
    """Names, and the addresses of hosts that have none."""

    names: tuple[str, ...]
    addresses: tuple[IpAddress, ...]


def to_resolve(need: Need) -> Named:
    """For firewalls that resolve names: a region's `-all` name where there is one, else its nodes'."""
    whole = {host.region for host in need.hosts if host.level is Level.L3 and host.name and host.region}
    return _named(host for host in need.hosts if host.level is Level.L3 or host.region not in whole)


def said_in_tls(need: Need) -> Named:
    """For firewalls that read TLS: names that clients say."""
    return _named(host for host in need.hosts if host.level is Level.SNI or not host.name)


def _named(hosts: Iterable[Host]) -> Named:
    chosen = list(hosts)
    bare = {address for host in chosen if not host.name for address in host.addresses}
    return Named(
        tuple(sorted({host.name for host in chosen if host.name})),
        tuple(sorted(bare, key=lambda a: (a.version, int(a)))),
    )


def needs_of(plan: Plan, direction: Direction) -> list[Need]:
    return [need for need in plan.needs if need.direction == direction]
