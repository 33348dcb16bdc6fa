"""How long a relay takes to answer over HTTPS, for networks that let no UDP through.

Room: shell. The certificate is checked as the DERP map says.
"""

from __future__ import annotations

import asyncio
import logging
import ssl

from ginnel.core.node.actions import MeasureHttps
from ginnel.shell.node.dial import PIN, DialError, Streams, is_pinned, open_streams, unverified
from ginnel.shell.node.web import WebError, exchange

log = logging.getLogger(__name__)

MEASURE_TIME = 2.0
NAME = "name:"


async def measure(action: MeasureHttps, *, mark: int) -> tuple[float, int] | None:
    """Seconds of the request alone, and the version of IP that it went by; None: it failed."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(MEASURE_TIME):
            streams = await open_relay(
                action.server_name, [(str(a.ip), a.port) for a in action.addresses], action.verify, mark=mark
            )
            try:
                began = loop.time()
                page = await exchange(streams, "GET", "/derp/latency-check", action.server_name)
                took = loop.time() - began
                return (took, _version(streams)) if page.status <= 299 else None
            finally:
                streams.writer.close()
    except (DialError, WebError, TimeoutError) as error:
        log.debug("latency of region %d: %s", action.region, error)
        return None


async def open_relay(server_name: str, addresses: list[tuple[str, int]], verify: str, *, mark: int) -> Streams:
    """TLS to a relay; `verify` is `name:<host>`, `sha256-raw:<hex>` or `insecure`. Raises DialError."""
    named = verify.startswith(NAME)
    context = ssl.create_default_context() if named else unverified()
    name = verify.removeprefix(NAME) if named else server_name
    port = addresses[0][1] if addresses else 443
    streams = await open_streams(server_name, port, mark=mark, tls=context, server_name=name, addresses=addresses)
    if verify.startswith(PIN) and not is_pinned(streams, verify):
        streams.writer.close()
        raise DialError(f"the certificate of {server_name} is not the one that the DERP map pins")
    return streams


def _version(streams: Streams) -> int:
    return 6 if ":" in streams.writer.get_extra_info("peername")[0] else 4
