"""Where numbers are served: a listener of its own, never the front door.

Room: shell.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from ipaddress import ip_address

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ginnel.shell.metrics import CONTENT_TYPE


def metrics_route(texts: Sequence[Callable[[], bytes]]) -> Route:
    """`/metrics`, one text after the other; their prefixes differ."""

    async def metrics(request: Request) -> Response:
        """A page elsewhere whose name leads here would come with that name (DNS rebinding)."""
        if not named_by_address(request):
            return refused("ask by an IP address or as localhost")
        return Response(b"".join(text() for text in texts), media_type=CONTENT_TYPE)

    return Route("/metrics", metrics)


def refused(why: str) -> Response:
    return PlainTextResponse(why + "\n", status_code=403)


def named_by_address(request: Request) -> bool:
    try:
        host = request.url.hostname or ""
        return host == "localhost" or bool(ip_address(host))
    except ValueError:
        return False


@asynccontextmanager
async def listening(app: ASGIApp, host: str, port: int) -> AsyncIterator[int]:
    """Gives the port. Raises OSError."""
    config = Config(
        app,
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
    server = await loop.create_server(lambda: H11Protocol(config, state, {}), host, port)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()
