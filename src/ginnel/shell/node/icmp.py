"""One ICMP echo, timed: by a ping socket where the system lets us (net.ipv4.ping_group_range), else by a raw one.

Room: shell.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from contextlib import suppress

from ginnel.core.node.actions import MeasureIcmp
from ginnel.shell.node.dial import SO_MARK
from ginnel.wire.icmp import echo_request, parse_echo_reply, without_ip_header
from ginnel.wire.read import WireError

log = logging.getLogger(__name__)

ECHO_TIME = 1.0
READ = 2048
REFUSED = (errno.EPERM, errno.EACCES, errno.EPROTONOSUPPORT)


async def echo(action: MeasureIcmp, *, mark: int) -> float | None:
    """Seconds there and back; None: no answer, or we may not ask."""
    try:
        asking, raw = _open()
    except OSError as error:
        log.debug("no ICMP socket: %s", error)
        return None
    with asking:
        with suppress(PermissionError):
            asking.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
        try:
            asking.connect((str(action.address), 0))
            async with asyncio.timeout(ECHO_TIME):
                return await _timed(asking, action.payload, raw=raw)
        except (OSError, TimeoutError) as error:
            log.debug("ICMP latency of region %d: %s", action.region, error or "no answer")
            return None


def _open() -> tuple[socket.socket, bool]:
    """A socket, and whether it is a raw one. Raises OSError."""
    try:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP), False
    except OSError as error:
        if error.errno not in REFUSED:
            raise
    return socket.socket(socket.AF_INET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.IPPROTO_ICMP), True


async def _timed(asking: socket.socket, payload: bytes, *, raw: bool) -> float:
    """The payload tells our answer from others', which a raw socket sees as well."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    asking.send(echo_request(0, 1, payload))
    while True:
        packet = await loop.sock_recv(asking, READ)
        with suppress(WireError):
            if parse_echo_reply(without_ip_header(packet) if raw else packet).payload == payload:
                return loop.time() - began
