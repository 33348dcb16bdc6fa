"""What the server answers outside the control channel.

Room: shell. Read-only: nothing here changes state, and nothing but `/verify` reads a body. `more`: routes of others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from email.utils import formatdate
from string import Template

import msgspec
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ginnel.core.control import limits
from ginnel.core.firewall.told import NOTHING_TOLD, Told
from ginnel.shell.control.etag import tagged
from ginnel.wire.tailcfg import DERPMap, ServerKeys, encode
from ginnel.words import BadKey, MachineKey, NodeKey

BODY_TIMEOUT = 10.0
LOGIN_PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Join this mesh</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 4rem auto; padding: 0 1rem }
pre { background: #eee; color: #111; padding: 1rem; overflow-x: auto }
</style></head><body>
<h1>A machine asks to join</h1>
<p>An administrator of this server lets it in with one command, run where the server runs:</p>
<pre>ginnel auth approve $login --user NAME</pre>
<p>Compare the machine first: <code>ginnel auth list</code> shows what it calls itself. This page may be closed.</p>
</body></html>
""")
ROOT = "This is the coordination server of a ginnel mesh. A machine joins it by `ginnel up --invite TOKEN`."
PAGE_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
}


class VerifyRequest(msgspec.Struct, frozen=True):
    """A relay asks whether it may let a client in (tailscale: tailcfg.DERPAdmitClientRequest)."""

    node_public: str = msgspec.field(name="NodePublic")


def make_app(
    server_key: MachineKey,
    derp_map: Callable[[], DERPMap],
    admits: Callable[[NodeKey], bool],
    more: Sequence[Route] = (),
    told: Told = NOTHING_TOLD,
) -> Starlette:
    keys = encode(ServerKeys(MachineKey.zero(), server_key))

    async def key(request: Request) -> Response:
        if not request.query_params.get("v", "").isdigit():
            return _text(400, "ask with ?v=<capability version>; clients older than Noise are not served")
        return Response(keys, media_type="application/json")

    async def root(_request: Request) -> Response:
        return _text(200, ROOT)

    async def health(_request: Request) -> Response:
        now = formatdate(usegmt=True)  # RFC 9110 §6.6.1; by it a node finds out that its clock is wrong
        return Response(b'{"status":"pass"}\n', media_type="application/health+json", headers={"date": now})

    async def default_derp_map(request: Request) -> Response:
        body = msgspec.json.format(encode(derp_map()), indent=2) + b"\n"
        return tagged(request, body, "application/json", told.headers())

    async def register(request: Request) -> Response:
        login = request.path_params["login"]
        if not (login.isascii() and login.isalnum() and len(login) <= 64):
            return _text(404, "no such login")
        return Response(LOGIN_PAGE.substitute(login=login), media_type="text/html", headers=PAGE_HEADERS)

    async def verify(request: Request) -> Response:
        try:
            body = await _body(request, limits.MAX_VERIFY_BODY)
            node_key = NodeKey.parse(msgspec.json.decode(body, type=VerifyRequest).node_public)
        except (msgspec.MsgspecError, UnicodeDecodeError, BadKey):
            return _text(400, 'expected {"NodePublic":"nodekey:..."}')
        except _TooMuch:
            return _text(413, f"at most {limits.MAX_VERIFY_BODY} bytes")
        except (TimeoutError, ClientDisconnect):
            return _text(408, "the body came too slowly")
        return Response(msgspec.json.encode({"Allow": admits(node_key)}), media_type="application/json")

    async def not_yet(_request: Request) -> Response:
        return _text(501, "not implemented")

    async def missing(_request: Request, _error: Exception) -> Response:
        return _text(404, "not found")

    return Starlette(
        routes=[
            Route("/", root),
            Route("/key", key),
            Route("/health", health),
            Route("/derpmap/default", default_derp_map),
            Route("/register/{login}", register),
            Route("/verify", verify, methods=["POST"]),
            Route("/machine/{rest:path}", not_yet, methods=["GET", "POST"]),
            *more,
        ],
        exception_handlers={404: missing},
    )


def _text(status: int, text: str) -> Response:
    return PlainTextResponse(text + "\n", status_code=status)


class _TooMuch(Exception):
    pass


async def _body(request: Request, limit: int) -> bytes:
    body = bytearray()
    async with asyncio.timeout(BODY_TIMEOUT):
        async for piece in request.stream():
            body += piece
            if len(body) > limit:
                raise _TooMuch
    return bytes(body)
