"""A relay's numbers for Prometheus, and a page for its administrators.

Room: shell. On a listener of its own, never on the front door. The page is for this machine alone: it shows addresses.
"""

from __future__ import annotations

import asyncio
import html
import platform
import ssl
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from ipaddress import ip_address

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ginnel import __version__
from ginnel.shell.metrics import CONTENT_TYPE, exposition
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
    """What is shown. `more`: counters from elsewhere, by name. `interval`: seconds over which rates are taken."""

    relay: EmbeddedRelay
    more: Callable[[], Mapping[str, float]] = field(default=dict)
    interval: float = 1.0

    def counters(self) -> dict[str, float]:
        own = {name: number for name, number in self.relay.native.counters().items() if NOW not in name}
        return {**own, **self.more()}

    def gauges(self) -> dict[str, float]:
        native = self.relay.native
        return {
            "clients": len(native.clients()),
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
    text = exposition("ginnel_relay", side.counters, side.gauges)

    async def metrics(request: Request) -> Response:
        if not _named_by_address(request):
            return _refused("ask by an IP address or as localhost")
        return Response(text(), media_type=CONTENT_TYPE)

    async def debug(request: Request) -> Response:
        """A page elsewhere whose name leads here would come with that name (DNS rebinding)."""
        if not (_from_here(request) and _named_by_address(request)):
            return _refused("this page is for this machine: ssh -L 9090:127.0.0.1:9090 leads here")
        return Response(await side.page(), media_type="text/html", headers=PAGE_HEADERS)

    return Starlette(routes=[Route("/metrics", metrics), Route("/debug", debug), Route("/debug/", debug)])


def _refused(why: str) -> Response:
    return PlainTextResponse(why + "\n", status_code=403)


def _from_here(request: Request) -> bool:
    try:
        source = ip_address(request.client.host if request.client is not None else "")
    except ValueError:
        return False
    mapped = getattr(source, "ipv4_mapped", None)
    return (mapped or source).is_loopback


def _named_by_address(request: Request) -> bool:
    try:
        host = request.url.hostname or ""
        return host == "localhost" or bool(ip_address(host))
    except ValueError:
        return False


@asynccontextmanager
async def serving(side: AdminSide, host: str, port: int) -> AsyncIterator[int]:
    """Gives the port. Raises RelayError."""
    config = Config(
        make_admin_side(side),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        limit_concurrency=64,
        h11_max_incomplete_event_size=16 * 1024,
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(lambda: H11Protocol(config, state, {}), host, port)
    except OSError as error:
        raise RelayError(f"cannot listen on {host}:{port} for metrics: {error.strerror}; choose another") from None
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()


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
        _section("Mesh", ["relay", "connected", "clients", "why not"], _mesh(side.relay)),
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


def _mesh(relay: EmbeddedRelay) -> list[tuple[str, bool, int, str]]:
    links = getattr(relay.native, "mesh", None)
    return links() if links is not None else []


def _section(title: str, heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Everything is escaped here, whoever it comes from."""
    lines = [_row("th", heads), *(_row("td", row) for row in rows)]
    return f"<h2>{html.escape(title)}</h2><table>{''.join(lines)}</table>"


def _row(cell: str, words: Iterable[object]) -> str:
    return "<tr>" + "".join(f"<{cell}>{html.escape(str(word))}</{cell}>" for word in words) + "</tr>"
