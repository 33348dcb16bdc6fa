"""The allowlist feed: what is in it, since when, and until when.

Room: core, sans-IO. The wall clock is an argument: what is announced and what leaves has to outlive a restart.

    announced (pending) -- `before` over --> in use (entries) -- gone from the map --> leaving -- `grace` over --> gone

Announce before use: an address stands in the feed for `before` seconds until a map may name it; who may not use it yet
asks `ready`. What leaves the map stays for `grace` seconds, for clients that still have the old one and for relays that
come back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace

from ginnel.core.control.allowlist_entries import tokens
from ginnel.wire.allowlist import MAX_ENTRIES, Entry, Feed
from ginnel.words import WallTime

PENDING_KEPT = 600.0
"""Seconds past its time that a pending entry is kept at least, though its relay has not entered the map."""


@dataclass(frozen=True, slots=True)
class FeedRules:
    """Seconds: of announcement, of grace, until a feed expires, and until it is made anew."""

    before: float = 0.0
    grace: float = 3600.0
    lifetime: float = 86400.0
    remade: float = 3 * 3600.0


@dataclass(slots=True)
class AllowlistFeed:
    """`last`: the feed before a restart, None at the very first."""

    server: str
    rules: FeedRules
    last: Feed | None = None
    problem: str = ""
    relays: frozenset[str] = frozenset()
    _entries: tuple[Entry, ...] = ()
    _pending: dict[str, Entry] = field(default_factory=dict)  # by the relay's name
    _leaving: dict[tuple[object, ...], Entry] = field(default_factory=dict)  # by what it is an entry of

    def __post_init__(self) -> None:
        if self.last is not None:
            self._entries = self.last.entries
            self._pending = {entry.node: entry for entry in self.last.pending}
            self._leaving = {_identity(entry): entry for entry in self.last.leaving}

    # --- inputs ----------------------------------------------------------------------------------------------

    def changed(self, entries: Sequence[Entry], relays: Collection[str], wall: WallTime) -> None:
        """What the map and the settings say now. `relays`: names of all of the fleet's, in the map or not."""
        self.relays = frozenset(relays)
        if len(entries) > MAX_ENTRIES:
            self.problem = f"the map has {len(entries)} relays and regions, a feed holds {MAX_ENTRIES}: the last stays"
            return
        self.problem = ""
        before, self._entries = self._entries, tuple(entries)
        self._pending = {name: entry for name, entry in self._pending.items() if name in relays}
        self._let_go(before, wall)

    def _let_go(self, before: Iterable[Entry], wall: WallTime) -> None:
        now = {_identity(entry): tokens(entry) for entry in self._entries}
        until = int(wall + self.rules.grace)
        if self.rules.grace > 0:
            for entry in before:
                if not tokens(entry) <= now.get(_identity(entry), frozenset()):
                    self._leaving[_identity(entry)] = self._leaves(entry, until)
        kept = [(who, entry) for who, entry in self._leaving.items() if not tokens(entry) <= now.get(who, frozenset())]
        kept.sort(key=lambda item: -item[1].until)
        self._leaving = dict(kept[:MAX_ENTRIES])

    def _leaves(self, entry: Entry, until: int) -> Entry:
        """Together with what is leaving of it already: a relay may change its addresses twice."""
        old = self._leaving.get(_identity(entry))
        gone = replace(entry, until=until, use_after=0)
        if old is None:
            return gone
        return replace(
            gone,
            ports=tuple(dict.fromkeys((*entry.ports, *old.ports))),
            ipv4=tuple(sorted({*entry.ipv4, *old.ipv4}))[:64],
            ipv6=tuple(sorted({*entry.ipv6, *old.ipv6}))[:64],
        )

    def ready(self, relay: Entry, wall: WallTime) -> WallTime:
        """When a map may name this relay of the fleet as it is; from now on it is announced."""
        if self.rules.before <= 0 or not relay.node:
            return wall
        wanted, listed = _needed(relay), self._listed(wall)
        if wanted <= listed:
            return wall
        announced = self._pending.get(relay.node)
        if announced is None or not wanted <= tokens(announced) | listed:
            announced = replace(relay, use_after=int(wall + self.rules.before) + 1, until=0)
            self._pending[relay.node] = announced
        return WallTime(max(wall, announced.use_after))

    def _listed(self, wall: WallTime) -> frozenset[str]:
        leaving = [entry for entry in self._leaving.values() if entry.until > wall]
        return frozenset[str]().union(*map(tokens, (*self._entries, *leaving)))

    # --- the feed --------------------------------------------------------------------------------------------

    def feed(self, wall: WallTime) -> Feed:
        """As it is now. Another serial where another thing is in it; made anew from time to time, so that it does not
        expire while nothing changes. A serial is at least the time, so that it rises though the last one is lost."""
        self._forget(wall)
        lists = self._entries, tuple(self._pending.values()), tuple(self._leaving.values())
        last = self.last
        if last is not None and self._is_same(last, lists):
            if 0 <= wall - last.made < self.rules.remade:
                return last
            serial = last.serial
        else:
            serial = max(int(wall), last.serial + 1 if last is not None else 1)
        made = int(wall)
        self.last = Feed(self.server, serial, made, made + int(self.rules.lifetime), *lists)
        return self.last

    def _is_same(self, last: Feed, lists: tuple[tuple[Entry, ...], ...]) -> bool:
        return (last.server, last.entries, last.pending, last.leaving) == (self.server, *lists)

    def _forget(self, wall: WallTime) -> None:
        """Leaving entries whose time is over; pending ones that are in use by now, or whose relay does not come."""
        self._leaving = {who: entry for who, entry in self._leaving.items() if entry.until > wall}
        used = frozenset[str]().union(*map(tokens, self._entries)) if self._pending else frozenset()
        kept = max(self.rules.grace, PENDING_KEPT)
        self._pending = {
            name: entry
            for name, entry in self._pending.items()
            if not _needed(entry) <= used and wall <= entry.use_after + kept
        }


def _needed(relay: Entry) -> frozenset[str]:
    """Without port 80, by which captive portals are found: nobody waits for that, and it comes and goes."""
    return frozenset(token for token in tokens(relay) if not token.endswith(" 80/tcp"))


def _identity(entry: Entry) -> tuple[object, ...]:
    """Whose entry it is: what changes of it stays the same one's."""
    return entry.role, entry.level, entry.region, entry.node or entry.name, entry.name if entry.role != "relay" else ""
