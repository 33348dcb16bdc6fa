"""Where the list of hosts comes from: the live map, by way of the plan's facts, or the server's signed feed.

Room: shell. A list that cannot be had raises SourceError; the machine then keeps what it knows.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ginnel.core.firewall.checked import IpNetwork
from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.sync_list import listing_of_feed, listing_of_hosts
from ginnel.core.firewall.sync_words import Listing
from ginnel.core.node.routing import MARK
from ginnel.shell.firewall.facts import FactsError, Wish, gather, own_addresses
from ginnel.shell.node.web import WebError, fetch
from ginnel.shell.relay_map import untrusted
from ginnel.wire.allowlist import MAX_BYTES, Feed, FeedKey, stale, verify_feed
from ginnel.wire.read import WireError
from ginnel.words import IpAddress, WallTime

FEED_TIME = 20.0
OWN_TIME = 10.0
Roles = frozenset[Role]


class SourceError(Exception):
    """One line: why there is no list."""


@dataclass(slots=True)
class FreshTrust:
    """Which addresses may stand in a set. This machine's own change while we run, so they are read anew."""

    allowed: tuple[IpNetwork, ...]
    _made: float = -OWN_TIME
    _own: frozenset[IpAddress] = frozenset()

    def __call__(self) -> Trust:
        if time.monotonic() - self._made >= OWN_TIME:
            self._made, self._own = time.monotonic(), own_addresses()
        return Trust(self.allowed, self._own)


@dataclass(slots=True)
class MapSource:
    """`daemon`: gives what it knows (`facts.DAEMON_KNOWS`), or raises FactsError; it may take its time. `problems`:
    what was refused of the last list, one line each."""

    wish: Wish
    daemon: Callable[[], Mapping[str, Any]]
    roles: Roles
    name: str = "the map"
    problems: tuple[str, ...] = ()

    async def listing(self, last_serial: int) -> Listing:  # noqa: ARG002
        try:
            known = await asyncio.to_thread(self.daemon) if self.wish.needs_daemon else {}
            facts = await gather(self.wish, known.__getitem__, WallTime(time.time()))
        except FactsError as error:
            raise SourceError(str(error)) from None
        self.problems = facts.problems
        return listing_of_hosts(facts.hosts, self.roles)


@dataclass(slots=True)
class FeedSource:
    """`place`: URL or file. `trust`: made anew for each list, since this machine's own addresses change. An answer that
    says "not modified" stands for the feed before, as long as its time is not over."""

    place: str
    key: FeedKey
    roles: Roles
    trust: Callable[[], Trust]
    pin: str = ""
    problems: tuple[str, ...] = ()
    _last: Feed | None = None
    _tag: str = ""
    name: str = field(init=False)

    def __post_init__(self) -> None:
        self.name = f"the feed {self.place}"

    async def listing(self, last_serial: int) -> Listing:
        now = WallTime(time.time())
        try:
            body = await self._body()
            feed = self._again(now) if body is None else verify_feed(body, self.key, last_serial, now)
        except (WebError, WireError) as error:
            self._tag = ""
            raise SourceError(f"{self.place}: {error}{untrusted(error, self.pin)}") from None
        except TimeoutError:
            raise SourceError(f"{self.place} does not answer") from None
        except OSError as error:
            raise SourceError(f"cannot read {self.place}: {error.strerror or error}") from None
        self._last = feed
        listing, self.problems = listing_of_feed(feed, self.trust(), self.roles)
        return listing

    def _again(self, now: WallTime) -> Feed:
        why = "there is no feed before that one" if self._last is None else stale(self._last, now)
        if self._last is None or why:
            raise WebError(f"{why}, and the server says that there is no newer one")
        return self._last

    async def _body(self) -> bytes | None:
        """None: not modified."""
        if not self.place.startswith(("http://", "https://")):
            return await asyncio.to_thread(_file, self.place)
        tag = [("If-None-Match", self._tag)] if self._tag and self._last is not None else []
        async with asyncio.timeout(FEED_TIME):
            page = await fetch("GET", self.place, mark=MARK, pin=self.pin, headers=tag, limit=MAX_BYTES)
        if page.status == 304 and tag:
            return None
        if page.status != 200:
            raise WebError(f"expected 200, got HTTP {page.status}")
        self._tag = page.headers.get("etag", "")[:256]
        return page.body


def _file(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(MAX_BYTES + 1)
