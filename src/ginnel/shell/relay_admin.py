"""A relay's numbers for Prometheus, and a page for its administrators.

Room: shell. On a listener of its own, never on the front door. The page is for this machine alone: it shows addresses.
"""

from __future__ import annotations

import asyncio
import html
import platform
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from ginnel import __version__
from ginnel.shell.metrics import exposition
from ginnel.shell.metrics_door import listening, metrics_route, named_by_address, refused
from ginnel.shell.relay import EmbeddedRelay
from ginnel.shell.relay_settings import RelayError
from ginnel.words import NodeKey

NOW = ".now."
"""What stands in the name of a number that goes up and down."""

MOST_ROWS = 500
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}
STYLE = "body{font:14px/1.4 monospace;margin:1rem}td,th{text-align:left;padding:0 1rem 0 0}h2{margin:1rem 0 0}"


@dataclass(frozen=True, slots=True)
class AdminSide:
    """What is shown. `more`: counters from elsewhere, by name. `besides`: other texts for Prometheus. `interval`:
    seconds over which rates are taken."""

    relay: EmbeddedRelay
    more: Callable[[], Mapping[str, float]] = field(default=dict)
    besides: Sequence[Callable[[], bytes]] = ()
    interval: float = 1.0

    def counters(self) -> dict[str, float]:
        own = {name: number for name, number in self.relay.native.counters().items() if NOW not in name}
        return {**own, **self.more()}

    def gauges(self) -> dict[str, float]:
        native = self.relay.native
        return {
            "clients": native.client_count(),
            "mesh.links": sum(connected for _, connected, _, _ in native.mesh()),
            "half_open": native.half_open(),
            "certificate.expires_seconds": self.relay.leaf.expires,
            **{name.replace(NOW, "."): number for name, number in native.counters().items() if NOW in name},
        }

    async def page(self) -> str:
        earlier = {(key, source): (came, went) for key, source, came, went in self.relay.native.clients()}
        await asyncio.sleep(self.interval)
        rows = [_Client(row, earlier.get(row[:2], (0, 0)), self.interval) for row in self.relay.native.clients()]
        rows.sort(key=lambda row: row.came + row.went, reverse=True)
        return _page(self, rows)


class _Client:
    """One login; what it sends and gets, in bytes a second."""

    def __init__(self, row: tuple[bytes, tuple[str, int], int, int], earlier: tuple[int, int], interval: float) -> None:
        self.key, self.source, self.bytes_in, self.bytes_out = NodeKey(row[0]), row[1], row[2], row[3]
        self.came = max(self.bytes_in - earlier[0], 0) / interval
        self.went = max(self.bytes_out - earlier[1], 0) / interval

    def cells(self) -> list[object]:
        source = f"{self.source[0]}:{self.source[1]}"
        rates = (f"{self.came:.0f}", f"{self.went:.0f}")
        return [self.key.short(), source, *rates, self.bytes_in, self.bytes_out]


def make_admin_side(side: AdminSide) -> Starlette:
    own = exposition("ginnel_relay", side.counters, side.gauges)

    async def debug(request: Request) -> Response:
        if not (_from_here(request) and named_by_address(request)):
            return refused("this page is for this machine: ssh -L 9090:127.0.0.1:9090 leads here")
        return Response(await side.page(), media_type="text/html", headers=PAGE_HEADERS)

    return Starlette(routes=[metrics_route([own, *side.besides]), Route("/debug", debug), Route("/debug/", debug)])


def _from_here(request: Request) -> bool:
    try:
        source = ip_address(request.client.host if request.client is not None else "")
    except ValueError:
        return False
    mapped = getattr(source, "ipv4_mapped", None)
    return (mapped or source).is_loopback


@asynccontextmanager
async def serving(side: AdminSide, host: str, port: int) -> AsyncIterator[int]:
    """Gives the port. Raises RelayError."""
    async with AsyncExitStack() as stack:
        try:
            bound = await stack.enter_async_context(listening(make_admin_side(side), host, port))
        except OSError as error:
            raise RelayError(f"cannot listen on {host}:{port} for metrics: {error.strerror}; choose another") from None
        yield bound


# --- the page ----------------------------------------------------------------------------------------------------


def _page(side: AdminSide, clients: list[_Client]) -> str:
    leaf = side.relay.leaf
    expires = datetime.fromtimestamp(leaf.expires, UTC)
    left = (expires - datetime.now(UTC)).days
    facts: list[tuple[str, object]] = [
        ("relay", side.relay.key.short()),
        ("certificate", f"{', '.join(sorted(leaf.names))}; until {expires:%Y-%m-%d %H:%M} UTC, {left} days"),
        ("signed by", "itself, pinned" if leaf.self_signed else "an authority"),
        ("versions", f"ginnel {__version__}, Python {platform.python_version()}, {ssl.OPENSSL_VERSION}"),
        *((name, number) for name, number in side.gauges().items() if not name.startswith("certificate.")),
    ]
    shown = clients[:MOST_ROWS]
    parts = [
        _section("Relay", [], facts),
        _section("Mesh", ["relay", "connected", "clients", "why not"], side.relay.native.mesh()),
        _section(
            f"Clients: {len(clients)}" + (f", the busiest {MOST_ROWS}" if len(clients) > MOST_ROWS else ""),
            ["node", "from", "in B/s", "out B/s", "bytes in", "bytes out"],
            [row.cells() for row in shown],
        ),
        _section(
            "Counters", [], ((name, f"{number:.0f}") for name, number in sorted(side.counters().items()) if number)
        ),
    ]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>ginnel relay</title><style>{STYLE}</style>"
    return head + "".join(parts)


def _section(title: str, heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Everything is escaped here, whoever it comes from."""
    lines = [_row("th", heads), *(_row("td", row) for row in rows)]
    return f"<h2>{html.escape(title)}</h2><table>{''.join(lines)}</table>"


def _row(cell: str, words: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{cell}>{html.escape(str(word))}</{cell}>" for word in words) + "</tr>"
