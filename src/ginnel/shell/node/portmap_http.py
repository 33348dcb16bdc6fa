"""HTTP to a home router, for UPnP: one request a connection, to the gateway's own address, no redirects.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging

import h11

from ginnel.core.node.portmap.actions import FetchPortmap
from ginnel.shell.node.dial import DialError, open_streams
from ginnel.shell.node.web import WebError, exchange

log = logging.getLogger(__name__)

FETCH_TIME = 2.0


async def fetch(action: FetchPortmap, *, mark: int) -> tuple[int, bytes]:
    """Status and body; status 0: no usable answer within 2 s."""
    address = str(action.gateway)
    place = address if action.port == 80 else f"{address}:{action.port}"
    try:
        async with asyncio.timeout(FETCH_TIME):
            streams = await open_streams(address, action.port, mark=mark, addresses=[(address, action.port)])
            try:
                if action.soap is None:
                    page = await exchange(streams, "GET", action.path, place)
                else:
                    headers = (("Content-Type", 'text/xml; charset="utf-8"'), ("SOAPAction", action.soap.action))
                    page = await exchange(streams, "POST", action.path, place, headers=headers, body=action.soap.body)
            finally:
                streams.writer.transport.abort()
    except (DialError, WebError, TimeoutError, h11.LocalProtocolError) as error:
        log.debug("the router at %s: %s", place, error or "no answer")
        return 0, b""
    return page.status, page.body
