"""`ginnel status --web`: the table as a page that is new at each look (tailscale: cmd/tailscale/cli/status.go).

Room: cli. What it shows is this machine's user's own: it listens on the loopback address unless told otherwise, and
answers only under an address or a name of this machine, so that no web page elsewhere can read it through a browser.
"""

from __future__ import annotations

import html
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import NoReturn

from ginnel.cli.local import ApiError, fail, local
from ginnel.cli.status import Wish, not_running, table
from ginnel.words import Endpoint

PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="5"><title>ginnel status</title>
<style>body{{font-family:monospace;margin:2em}}td,th{{text-align:left;padding:.2em 1.5em .2em 0}}</style>
<h1>{title}</h1>
<table>{rows}</table>
{health}
</html>
"""
HEADERS = (
    ("Content-Type", "text/html; charset=utf-8"),
    ("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
)


def serve(wish: Wish, listen: str, *, browser: bool) -> NoReturn:
    """Until Ctrl-C. Ends with one line where it cannot listen or no daemon runs."""
    try:
        where = Endpoint.parse(listen)
    except ValueError:
        fail(f"--listen {listen!r} is no address: expected IP:PORT, as in 127.0.0.1:8384")
    if silent := local(wish.socket).why_silent():
        fail(f"{silent}: start it with `sudo ginneld`")
    try:
        server = Server((str(where.ip), where.port), lambda: page(wish))
    except OSError as error:
        fail(f"cannot listen on {listen}: {error.strerror}; give another one by --listen IP:PORT")
    url = f"http://{Endpoint(where.ip, server.server_address[1])}/"
    print(f"Serving the status at {url} ...", file=sys.stderr, flush=True)
    if browser:
        import webbrowser

        webbrowser.open(url)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()
    sys.exit(0)


def page(wish: Wish) -> str:
    """HTML of the status as it is now."""
    api = local(wish.socket)
    if silent := api.why_silent():
        return PAGE.format(title="ginnel", rows="", health=_paragraphs([silent]))
    try:
        got = api.get("status" if wish.peers else "status?peers=false")
    except ApiError as error:
        return PAGE.format(title="ginnel", rows="", health=_paragraphs([str(error)]))
    refused = not_running(got)
    if refused:
        return PAGE.format(title="ginnel", rows="", health=_paragraphs(refused.split("\n")))
    header, _, *rows = table(
        got, now=datetime.now(UTC), active=wish.active, peers=wish.peers, itself=wish.itself, header=True
    )
    name = (got.get("Self") or {}).get("DNSName", "").rstrip(".") or "ginnel"
    lines = [_row("th", header), *(_row("td", row) for row in rows)]
    return PAGE.format(
        title=html.escape(name),
        rows="\n".join(lines),
        health=_paragraphs([str(line) for line in got.get("Health") or []]),
    )


def _row(cell: str, row: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{cell}>{html.escape(text)}</{cell}>" for text in row) + "</tr>"


def _paragraphs(lines: list[str]) -> str:
    return "\n".join(f"<p>{html.escape(line)}</p>" for line in lines)


class Server(ThreadingHTTPServer):
    """`page` is asked at each look."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], page: Callable[[], str]) -> None:
        self.page = page
        super().__init__(address, Look)


class Look(BaseHTTPRequestHandler):
    """One connection."""

    server: Server
    timeout = 10

    def do_GET(self) -> None:
        if not ours(self.headers.get("Host", "")):
            self.send_error(403, "by an address of this machine, please")
            return
        if self.path != "/":
            self.send_error(404)
            return
        body = self.server.page().encode()
        self.send_response(200)
        for name, value in HEADERS:
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: it is the user's own page."""


def ours(host: str) -> bool:
    """Whether a Host header is an address or localhost: a name might be anybody's that leads here (DNS rebinding)."""
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() and not host.endswith("]") else host
    if name == "localhost":
        return True
    try:
        ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
