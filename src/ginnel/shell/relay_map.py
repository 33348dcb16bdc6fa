"""A DERP map from elsewhere than the daemon: a coordination server's, any URL's or a file's.

Room: shell. It is read whole or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ginnel.core.node.routing import MARK
from ginnel.shell.node.web import WebError, fetch
from ginnel.wire.read import WireError
from ginnel.wire.tailcfg import DERPMap, decode

MAP_TIME = 10.0
MAP_LIMIT = 16 << 20
"""Ten thousand regions of two relays are 5 MiB."""
DEFAULT_MAP = "/derpmap/default"


class MapError(Exception):
    """One line for people."""


@dataclass(frozen=True, slots=True)
class Place:
    """`name`: a URL or a file. `pin`: of the one certificate that the URL may have, as DERP maps pin it."""

    name: str
    pin: str = ""

    @property
    def is_url(self) -> bool:
        return self.name.startswith(("http://", "https://"))


@dataclass(frozen=True, slots=True)
class RelayMap:
    """`headers`: of the answer, by names in lower case."""

    derp_map: DERPMap
    headers: Mapping[str, str] = field(default_factory=dict)


async def read_map(place: Place) -> RelayMap:
    """Raises MapError where there is no map, or one without regions."""
    body, headers = await _download(place) if place.is_url else (_file(place.name), {})
    return RelayMap(parse_map(body, place.name), headers)


def parse_map(body: bytes, name: str) -> DERPMap:
    """Raises MapError."""
    if len(body) > MAP_LIMIT:
        raise MapError(f"{name} is longer than {MAP_LIMIT} bytes: that is no DERP map")
    try:
        found = decode(DERPMap, body)
    except WireError as error:
        raise MapError(f"{name} holds no DERP map: {error}") from None
    if not any(found.regions.values() if found.regions else ()):
        raise MapError(f"{name} has no relays to ask; name a DERP map with --derp-map FILE")
    return found


def _file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(MAP_LIMIT + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise MapError(f"cannot read the DERP map {name}: {why}") from None


async def _download(place: Place) -> tuple[bytes, Mapping[str, str]]:
    try:
        async with asyncio.timeout(MAP_TIME):
            page = await fetch("GET", place.name, mark=MARK, pin=place.pin, limit=MAP_LIMIT)
        if page.status != 200:
            raise WebError(f"expected 200, got HTTP {page.status}; where a server publishes none, give --derp-map FILE")
    except (WebError, TimeoutError) as error:
        said = f"{str(error) or f'no answer within {MAP_TIME:.0f} s'}{untrusted(error, place.pin)}"
        raise MapError(f"cannot fetch the DERP map from {place.name}: {said}") from None
    return page.body, page.headers


def untrusted(error: Exception, pin: str) -> str:
    """What to do about a certificate, "" where something else is wrong."""
    if "certificate" not in str(error):
        return ""
    if pin:
        return "; is the --pin or the invite an old one? If not, somebody on the way opens TLS"
    return "; give an invite as --server, or the certificate's --pin"
