"""Asking a relay for /generate_204 on TCP port 80 (core/node/captive.py judges the answer).

Room: shell. No redirect is followed, no cookie kept, 1 KiB read, and nothing is sent but the request.
"""

from __future__ import annotations

import asyncio
import logging

from ginnel.core.node.actions import AskPort80
from ginnel.core.node.captive import ANSWER_TIME
from ginnel.shell.node.dial import DialError, open_streams
from ginnel.wire.generate204 import ANSWER_LIMIT, head_is_there, request

log = logging.getLogger(__name__)

PORT = 80
CONTENT_TIME = 0.25  # behind a whole head: for a body that should not be there, from a server that doesn't hang up


async def ask(action: AskPort80, *, mark: int, port: int = PORT) -> bytes:
    """What came, up to ANSWER_LIMIT bytes; b"": nothing, which is no news worth more than a debug line."""
    host = str(action.address)
    came = bytearray()
    try:
        async with asyncio.timeout(ANSWER_TIME):
            streams = await open_streams(host, port, mark=mark, addresses=[(host, port)])
            try:
                streams.writer.write(request(f"[{host}]" if ":" in host else host, action.challenge))
                await _read(streams.reader, came)
            finally:
                streams.writer.close()
    except (DialError, OSError, TimeoutError) as error:
        log.debug("port %d of %s: %s", port, host, error or "no answer")
    return bytes(came)


async def _read(reader: asyncio.StreamReader, came: bytearray) -> None:
    while not head_is_there(came):
        if not await _more(reader, came):
            return
    try:
        async with asyncio.timeout(CONTENT_TIME):
            while len(came) < ANSWER_LIMIT and await _more(reader, came):
                pass
    except TimeoutError:
        return


async def _more(reader: asyncio.StreamReader, came: bytearray) -> bool:
    data = await reader.read(ANSWER_LIMIT - len(came))
    came += data
    return bool(data)
