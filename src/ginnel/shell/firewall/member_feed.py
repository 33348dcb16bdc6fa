"""The feed of the mesh that this machine is a member of: its server's URL, and the key that the server told it.

Room: shell. The key comes in the net map, so by the channel that the server's Noise key protects: nobody has to carry
it here by hand, and no proxy can put its own in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec

from ginnel.core.firewall.hosts import Trust
from ginnel.core.firewall.needs import Role
from ginnel.core.firewall.sync_words import Listing
from ginnel.core.firewall.told import told_by_attributes
from ginnel.shell.firewall.facts import PREFS, RELAYS, STATUS, FactsError
from ginnel.shell.firewall.sync_source import FeedSource, SourceError
from ginnel.shell.node.state import Prefs, server_pins
from ginnel.shell.relay_map import MapError, parse_map
from ginnel.wire.allowlist import FeedKey
from ginnel.wire.derpmap import PIN
from ginnel.wire.tailcfg import encode
from ginnel.words import BadKey

FEED_PATH = "/allowlist"


class OwnFeed(NamedTuple):
    """`pin`: of the server's certificate, "" where an authority vouches for it."""

    url: str
    key: FeedKey
    pin: str


def own_feed(known: Mapping[str, Any]) -> OwnFeed:
    """Of the mesh that the daemon is in, by its answers. Raises FactsError."""
    try:
        prefs = msgspec.convert(known[PREFS], Prefs)
        itself = msgspec.convert(known[STATUS], dict[str, Any]).get("Self") or {}
        told = told_by_attributes(itself.get("CapMap") or {})
        if not prefs.control_url or not told.feed:
            raise FactsError(
                "the daemon has not been told by its server who signs the allowlist: run `ginnel up`, or give "
                "--feed-key, which `ginnel server allowlist-key` prints on the server"
            )
        return OwnFeed(prefs.control_url.rstrip("/") + FEED_PATH, FeedKey.parse(told.feed), _pin(prefs, known))
    except (msgspec.ValidationError, AttributeError, BadKey) as error:
        raise FactsError(f"the daemon gave an answer that is not understood ({str(error)[:120]})") from None


def _pin(prefs: Prefs, known: Mapping[str, Any]) -> str:
    """The newest: its own map's, which changes with the certificate, before the invite's."""
    try:
        derp_map = parse_map(encode(known[RELAYS]), "the daemon")
    except MapError:
        derp_map = None
    pins = server_pins(prefs, derp_map)
    newest = sorted(pins - {prefs.server_pin}) or sorted(pins)
    return PIN + newest[0] if newest else ""


@dataclass(slots=True)
class MemberFeed:
    """A `Source`. `place`: URL or file where the feed is read instead, "" for the server's own. `known`: asks the
    daemon, or raises FactsError; what it said last counts while it is away. `pin`: of `place`'s certificate."""

    place: str
    known: Callable[[], OwnFeed]
    roles: frozenset[Role]
    trust: Callable[[], Trust]
    pin: str = ""
    _own: OwnFeed | None = None
    _source: FeedSource | None = None

    @property
    def name(self) -> str:
        return f"the feed {self.place}" if self.place else "the feed of the daemon's server"

    @property
    def problems(self) -> tuple[str, ...]:
        return self._source.problems if self._source is not None else ()

    async def listing(self, last_serial: int) -> Listing:
        """Raises SourceError."""
        try:
            own = await asyncio.to_thread(self.known)
        except FactsError as error:
            if self._source is None:
                raise SourceError(str(error)) from None
        else:
            self._follow(own)
        assert self._source is not None
        return await self._source.listing(last_serial)

    def _follow(self, own: OwnFeed) -> None:
        if own != self._own:
            self._own = own
            pin = self.pin if self.place else own.pin
            self._source = FeedSource(self.place or own.url, own.key, self.roles, self.trust, pin)
