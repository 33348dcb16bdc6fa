"""`GET /allowlist`: the signed feed for programs, plain lists for firewalls that fetch one by themselves.

Room: shell. Read-only and public, as `/derpmap/default`. The state file is the feed as it was sent last, so whoever is
told a serial is never told a lower one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ginnel.core.control.allowlist_entries import ServerNames, entries_of, relay_entry
from ginnel.core.control.allowlist_feed import AllowlistFeed
from ginnel.core.control.allowlist_text import text_of
from ginnel.core.relaydns.zone import Zone
from ginnel.shell.control.admin import Admin, Verb
from ginnel.shell.control.etag import tagged
from ginnel.shell.control.fleet import RelayFleet
from ginnel.wire.allowlist import Feed, FeedPrivate, sign_feed, verify_feed
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPNode, DERPRegion
from ginnel.words import WallTime

log = logging.getLogger("ginnel.control.allowlist")
FORMATS = ("json", "text")
LEVELS = ("l3", "sni", "fqdn")
FAMILIES = ("4", "6")


class Nothing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    pass


@dataclass(slots=True)
class Allowlist:
    """`zone`: of the relays and its name, where there is one. Make it, and call `map_changed` at each change."""

    core: AllowlistFeed
    private: FeedPrivate
    path: Path
    names: ServerNames
    fleet: RelayFleet
    wall: Callable[[], WallTime]
    zone: Callable[[], tuple[Zone, str] | None] = lambda: None
    _signed: tuple[Feed, bytes] | None = None
    _texts: dict[tuple[str, str], bytes] = field(default_factory=dict)
    _seen: tuple[object, ...] = ()

    def map_changed(self, *_: object) -> None:
        """The map, the zone or the relays of the fleet are others."""
        served = self.zone()
        seen = (self.fleet.map.views, served[0] if served is not None else None)
        relays = {relay.name for relay in self.fleet.book.relays.values()}
        if _same(seen, self._seen) and relays == self.core.relays:
            return
        self._seen = seen
        zone, origin = served if served is not None else (None, "")
        entries = entries_of(self.fleet.map.views.given, self.names, zone, origin)
        self.core.changed(entries, relays, self.wall())
        if self.core.problem:
            log.error("the allowlist feed: %s", self.core.problem)
        self.document()

    def announce(self, node: DERPNode) -> WallTime:
        """When the map may name this relay; it stands in the feed from now on."""
        number = node.region_id
        region = (self.fleet.map.full.regions or {}).get(number)
        if region is None:
            said = self.fleet.book.regions.get(number)
            region = DERPRegion(number, said.code if said is not None else "", "", nodes=[])
        ready = self.core.ready(relay_entry(node, region), self.wall())
        self.document()
        return ready

    def document(self) -> bytes:
        """The signed feed as it is now, kept before anybody is given it."""
        feed = self.core.feed(self.wall())
        if self._signed is None or self._signed[0] is not feed:
            self._signed = feed, sign_feed(feed, self.private)
            self._texts = {}
            self._keep(self._signed[1])
        return self._signed[1]

    def _keep(self, document: bytes) -> None:
        """Replaced whole. What a full disk or a power cut takes is made up for by the clock: serials follow it."""
        draft = self.path.with_name(self.path.name + ".new")
        try:
            draft.unlink(missing_ok=True)
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(document)
            draft.replace(self.path)
        except OSError as error:
            log.warning("cannot write %s: %s", self.path, error.strerror)

    def count(self, what: str) -> None:
        self.fleet.coordinator.count(f"allowlist.{what}")

    # --- answers ---------------------------------------------------------------------------------------------

    def route(self) -> Route:
        return Route("/allowlist", self._answer)

    async def _answer(self, request: Request) -> Response:
        query = request.query_params
        form = query.get("format") or ("text" if _wants_text(request.headers.get("accept", "")) else "json")
        level, family = query.get("level", ""), query.get("family", "")
        problem = _problem(form, level, family)
        if problem:
            self.count("refused")
            return PlainTextResponse(problem + "\n", status_code=400)
        self.map_changed()
        body = self.document() if form == "json" else self._text(level or "l3", family)
        if not body:
            return PlainTextResponse(_nothing(level or "l3", family), status_code=404)
        answer = tagged(request, body, "application/json" if form == "json" else "text/plain; charset=utf-8")
        self.count("unchanged" if answer.status_code == 304 else f"sent.{form}")
        return answer

    def _text(self, level: str, family: str) -> bytes:
        self.document()
        assert self._signed is not None
        if (level, family) not in self._texts:
            self._texts[level, family] = text_of(self._signed[0], level, family)
        return self._texts[level, family]

    # --- for the admin ---------------------------------------------------------------------------------------

    def verbs(self) -> Mapping[str, Verb]:
        async def key(admin: Admin, arguments: Nothing, actor: str) -> Any:  # noqa: ARG001
            return {"key": str(self.private.public()), "url": f"{self.core.server}/allowlist"}

        return {"allowlist.key": (Nothing, key)}

    def gauges(self) -> dict[str, float]:
        feed = self.core.feed(self.wall())
        lists = {"entries": feed.entries, "pending": feed.pending, "leaving": feed.leaving}
        return {
            "allowlist.serial": feed.serial,
            **{f"allowlist.{name}": len(entries) for name, entries in lists.items()},
        }


def _same(one: tuple[object, ...], other: tuple[object, ...]) -> bool:
    """The very same things: comparing their contents would cost more than making the list anew."""
    return len(one) == len(other) and all(a is b for a, b in zip(one, other, strict=True))


def load_feed(path: Path, private: FeedPrivate) -> Feed | None:
    """The feed as it was before a restart; None where there was none, or none of this key."""
    try:
        return verify_feed(path.read_bytes(), private.public(), 0, WallTime(0.0))
    except FileNotFoundError:
        return None
    except (OSError, WireError) as error:
        log.warning("%s cannot be used (%s): going on without it", path, error)
        return None


def _wants_text(accept: str) -> bool:
    kinds = [part.partition(";")[0].strip().lower() for part in accept.split(",")]
    return "text/plain" in kinds and "application/json" not in kinds


def _problem(form: str, level: str, family: str) -> str:
    if form not in FORMATS or level not in ("", *LEVELS) or family not in ("", *FAMILIES):
        return "expected format=json or text; with text: level=l3, sni or fqdn, and with l3: family=4 or 6"
    if form == "json" and (level or family):
        return "the signed feed is only given whole, so that nobody can pass a part off as all: add format=text"
    if family and level in ("sni", "fqdn"):
        return "names have no family: leave it out, or ask for level=l3"
    return ""


def _nothing(level: str, family: str) -> str:
    """An empty list would be taken for one."""
    what = f"IPv{family} addresses" if family else "addresses" if level == "l3" else "names"
    return f"no {what} are known for this mesh: there is nothing to list, keep what you have\n"
