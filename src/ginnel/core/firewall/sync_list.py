"""From hosts of the map, or entries of the signed feed, to what `firewall sync` wants; and which lists are no good.

Room: core.
"""

from __future__ import annotations

from collections.abc import Iterable

from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.needs import Host, Level, Role
from ginnel.core.firewall.sync_answers import refusal
from ginnel.core.firewall.sync_words import (
    FAMILIES,
    MAX_ADDRESSES,
    MAX_NAMES,
    Family,
    Listing,
    Question,
    Wanted,
)
from ginnel.wire.allowlist import Feed
from ginnel.words import IpAddress

ROLES = frozenset(Role)


def listing_of_hosts(hosts: Iterable[Host], roles: frozenset[Role] = ROLES) -> Listing:
    """What the live map says. DNS is asked for each name as well: clients may use either."""
    return Listing(
        tuple(
            _wanted(host.name, frozenset(host.addresses), region=host.level is Level.L3)
            for host in hosts
            if host.role in roles
        )
    )


def listing_of_feed(feed: Feed, trust: Trust, roles: frozenset[Role] = ROLES) -> tuple[Listing, tuple[str, ...]]:
    """What the signed feed says: in use, announced and leaving. And the addresses in it that are refused."""
    wanted, refused = [], []
    for entry in feed.allowed():
        if Role(entry.role) in roles:
            why = {ip: refusal(ip, trust) for ip in entry.addresses}
            refused += [reason for reason in why.values() if reason]
            good = frozenset(ip for ip, reason in why.items() if not reason)
            wanted.append(_wanted(entry.name, good, region=entry.level == "L3"))
    return Listing(tuple(wanted), feed.serial), tuple(refused)


def _wanted(name: str, addresses: frozenset[IpAddress], *, region: bool) -> Wanted:
    """Nobody has to serve a region's name."""
    return Wanted(name, addresses, FAMILIES if name else (), needed=not region)


def problem_of(listing: Listing, last_serial: int) -> str:
    """Why a list is not believed; "" when it is."""
    if not any(wanted.addresses or wanted.ask for wanted in listing.wanted):
        return "the list names no host: an empty list is never believed"
    if len(listing.wanted) > MAX_NAMES:
        return f"the list names {len(listing.wanted)} hosts, {MAX_NAMES} are the most"
    if len({ip for wanted in listing.wanted for ip in wanted.addresses}) > MAX_ADDRESSES:
        return f"the list holds more than {MAX_ADDRESSES} addresses"
    if 0 < listing.serial < last_serial:
        return f"the list is an older one: serial {listing.serial}, {last_serial} was seen before"
    return ""


def by_name(wanted: Iterable[Wanted]) -> dict[str, Wanted]:
    """One line for each name: what several say of it, joined."""
    found: dict[str, Wanted] = {}
    for one in wanted:
        other = found.get(one.name, Wanted(one.name, needed=False))
        found[one.name] = Wanted(
            one.name, one.addresses | other.addresses, (*other.ask, *one.ask), one.needed or other.needed
        )
    return found


def questions_of(wanted: Iterable[Wanted], families: tuple[Family, ...]) -> set[Question]:
    return {Question(one.name, family) for one in wanted for family in one.ask if family in families}
