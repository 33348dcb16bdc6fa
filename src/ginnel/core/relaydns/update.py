"""The relays' names in somebody else's server, by dynamic update (RFC 2136): what differs and nothing else.

Room: core. Additions come before removals, in each message and from message to message, so that no name is without
addresses in between. A name of which the map's addresses are not all known loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ginnel.core.relaydns.zone import Zone
from ginnel.wire.dns import (
    AA,
    AAAA,
    IN,
    NOERROR,
    NONE_CLASS,
    NXDOMAIN,
    QR,
    RCODES,
    TC,
    A,
    Message,
    Record,
    text_of,
    update_bytes,
)

PER_MESSAGE = 400
"""Records in one update: below 65,535 bytes with the longest names, and soon done."""
FIRST_RETRY, MAX_RETRY = 2.0, 300.0
CHECK_EVERY = 300.0
"""Somebody may edit the zone by hand; what is missing then is put back within this."""

Key = tuple[bytes, int]
Held = Mapping[Key, tuple[int, frozenset[bytes]]]
"""(TTL, addresses) by name and type, where there are any."""


class UpdateFailed(Exception):
    """The other server did not do it, or did not say so. One line."""


@dataclass(frozen=True, slots=True)
class Change:
    key: Key
    data: bytes
    ttl: int
    add: bool

    def record(self) -> Record:
        """RFC 2136 §2.5.1 and §2.5.4: to remove one record, class NONE and TTL 0."""
        name, rtype = self.key
        return Record(name, rtype, IN if self.add else NONE_CLASS, self.ttl if self.add else 0, self.data)


def held(zone: Zone) -> Held:
    """What the map says."""
    return {
        (name, rtype): (found.ttl, frozenset(found.data))
        for name, sets in zone.relay_names()
        for rtype, found in sets.items()
    }


def keys_to_ask(names: Iterable[bytes]) -> list[Key]:
    return [(name, rtype) for name in sorted(names) for rtype in (A, AAAA)]


def read_held(message: Message, key: Key, ident: int) -> tuple[int, frozenset[bytes]] | None:
    """The answer to the query for `key`: what the server has, None for nothing. Raises UpdateFailed for all that is no
    such answer; an error is never taken for an empty set."""
    name, rtype = key
    what = text_of(name)
    asked = (message.question[0].lower(), *message.question[1:]) if message.question else None
    if message.id != ident or not message.flags & QR or asked != (name, rtype, IN) or message.flags & TC:
        raise UpdateFailed(f"it answered something else when asked for {what}")
    if message.rcode not in (NOERROR, NXDOMAIN):
        raise UpdateFailed(f"it answers {rcode_text(message.rcode)} when asked for {what}")
    if not message.flags & AA:
        raise UpdateFailed(f"it is not authoritative for {what}; name the zone's primary")
    found = [r for r in message.answers if r.name.lower() == name and r.type == rtype and r.rclass == IN]
    if len(found) != len(message.answers):
        raise UpdateFailed(f"it has something else than addresses at {what}: remove that by hand")
    return (found[0].ttl, frozenset(record.data for record in found)) if found else None


def differences(zone: Zone, have: Held) -> list[Change]:
    """What to send, in order: additions, then removals."""
    wanted = held(zone)
    add, remove = [], []
    for key in sorted(wanted.keys() | have.keys()):
        ttl, data = wanted.get(key, (0, frozenset()))
        old_ttl, old = have.get(key, (ttl, frozenset()))
        fresh = data if old_ttl != ttl and data else data - old  # one that is there again gets the new TTL
        add += [Change(key, one, ttl, True) for one in sorted(fresh)]
        if key not in zone.unknown:
            remove += [Change(key, one, ttl, False) for one in sorted(old - data)]
    return add + remove


def updates(origin: bytes, changes: list[Change], ids: Iterator[int]) -> Iterator[tuple[int, bytes]]:
    """(id, message) of each update, to be sent one after the other and only while all before succeeded."""
    for at in range(0, len(changes), PER_MESSAGE):
        ident = next(ids)
        yield ident, update_bytes(ident, origin, (change.record() for change in changes[at : at + PER_MESSAGE]))


def check_done(message: Message, ident: int) -> None:
    """Raises UpdateFailed unless it is the answer that says done."""
    if message.id != ident or not message.flags & QR:
        raise UpdateFailed("it answered something else to the update")
    if message.rcode != NOERROR:
        hint = {5: ": allow this key to update the zone", 9: ": it is not the zone's primary, or the key is wrong"}
        raise UpdateFailed(f"it refuses the update with {rcode_text(message.rcode)}{hint.get(message.rcode, '')}")


def rcode_text(rcode: int) -> str:
    return RCODES.get(rcode, f"rcode {rcode}")


def retry_after(failures: int, jitter: float) -> float:
    """Seconds after so many failures in a row, 1 or more. `jitter`: 0 to 1, and the wait is half fixed, half by it."""
    return min(MAX_RETRY, FIRST_RETRY * float(1 << min(failures - 1, 16))) * (0.5 + jitter / 2)
