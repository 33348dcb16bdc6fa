"""One relay is asked for the addresses of a name (tailscale: net/dnsfallback/dnsfallback.go).

Room: shell. Its certificate is checked as the DERP map says.
"""

from __future__ import annotations

import asyncio
import logging
from urllib.parse import quote

from ginnel.core.node.bootstrap import ANSWER_TIME, BootstrapRelay
from ginnel.shell.node.dial import DialError
from ginnel.shell.node.latency import open_relay
from ginnel.shell.node.web import WebError, exchange
from ginnel.wire.bootstrapdns import PATH, parse_names
from ginnel.wire.read import WireError
from ginnel.words import IpAddress

log = logging.getLogger(__name__)


async def ask_relay(relay: BootstrapRelay, name: str, *, mark: int) -> tuple[IpAddress, ...]:
    """None where it does not know the name or does not answer in time."""
    dialled = [(str(at.ip), at.port) for at in relay.addresses]
    try:
        async with asyncio.timeout(ANSWER_TIME):
            streams = await open_relay(relay.host, dialled, relay.verify, mark=mark)
            try:
                page = await exchange(streams, "GET", f"{PATH}?q={quote(name)}", relay.host)
            finally:
                streams.writer.close()
        return parse_names(page.body).get(name, ()) if page.status == 200 else ()
    except (DialError, WebError, WireError, TimeoutError) as error:
        log.info("relay %s does not tell where %s is: %s", relay.name, name, error or "no answer in time")
        return ()
