"""What time others say it is: the Date of HTTP answers. Who gives it need not be trusted for this, only compared.

Room: shell.
"""

from __future__ import annotations

import asyncio
import time
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

from ginnel.core.doctor.evidence import Clock
from ginnel.core.firewall.tried import literal
from ginnel.core.node.routing import MARK
from ginnel.shell.node.dial import unverified
from ginnel.shell.node.web import WebError, fetch
from ginnel.shell.probe.names import NameLooker

TIME = 3.0
TRIES = 2
ADDRESSES = 4


async def server_clocks(control_url: str) -> tuple[Clock, ...]:
    """Of the server's /health; asked twice, as a packet may get lost or a machine be slow."""
    for _ in range(TRIES if control_url else 0):
        seen = await clock_of(control_url)
        if seen is not None:
            return (seen,)
    return ()


async def clock_of(control_url: str) -> Clock | None:
    """Its source is the server, as that of the map's time is."""
    url = f"{control_url.rstrip('/')}/health"
    try:
        async with asyncio.timeout(TIME):
            found = await addresses_of(url)
            if not found:
                return None
            began = time.time()
            tls = unverified() if url.startswith("https") else None
            page = await fetch("GET", url, mark=MARK, tls=tls, addresses=found)
    except (WebError, TimeoutError):
        return None
    return clock_by(control_url, page.headers.get("date", ""), began)


def clock_by(source: str, date: str, began: float) -> Clock | None:
    """`date`: of an answer that has come just now, asked for at `began`, an instant of time.time."""
    try:
        said = parsedate_to_datetime(date).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None
    return Clock(source, (began + time.time()) / 2 - said)


async def addresses_of(url: str) -> tuple[tuple[str, int], ...]:
    """Of the URL's host and port, by a resolver's thread that nobody has to wait for; () where there are none."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    written = literal(host)
    found = (written,) if written is not None else (await NameLooker(TIME).look(host)).addresses
    return tuple((str(ip), port) for ip in found)[:ADDRESSES]
