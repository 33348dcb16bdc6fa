"""Who stands behind our own router: the first hops of the way to a relay, as each tells it when a packet ends there.

Room: shell. A UDP socket with a short TTL hears the ICMP answers by itself (linux: IP_RECVERR, ip(7)); no root needed.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress

from ginnel.shell.node.dial import SO_MARK

IP_RECVERR = 11
TIME_EXCEEDED = 11  # ICMP type
FROM_ICMP = 2  # SO_EE_ORIGIN_ICMP
EXTENDED_ERROR = struct.Struct("=IBBBBII")  # linux/errqueue.h: sock_extended_err
OFFENDER_AT = 4  # of sockaddr_in: family and port come first
HOP_TIME = 0.7
PORT = 33434
HOPS = 3


async def first_hops(address: str, *, mark: int) -> tuple[str, ...]:
    """IPv4 addresses, nearest first, "" where a hop says nothing; () where none does."""
    found = await asyncio.gather(*(_hop(address, ttl, mark) for ttl in range(1, HOPS + 1)))
    return tuple(found) if any(found) else ()


async def _hop(address: str, ttl: int, mark: int) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC) as asking:
        try:
            asking.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1)
            asking.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            with suppress(PermissionError):
                asking.setsockopt(socket.SOL_SOCKET, SO_MARK, mark)
            asking.connect((address, PORT + ttl))
            asking.send(b"\0")
            async with asyncio.timeout(HOP_TIME):
                return await _offender(asking)
        except (OSError, TimeoutError):
            return ""


async def _offender(asking: socket.socket) -> str:
    loop = asyncio.get_running_loop()
    with suppress(OSError):  # the error is raised once here, and stands in the queue
        await loop.sock_recv(asking, 1)
    _, control, _, _ = asking.recvmsg(512, 512, socket.MSG_ERRQUEUE)
    for level, kind, data in control:
        if (level, kind) == (socket.IPPROTO_IP, IP_RECVERR) and len(data) >= EXTENDED_ERROR.size + 8:
            _, origin, icmp, *_ = EXTENDED_ERROR.unpack_from(data)
            if (origin, icmp) == (FROM_ICMP, TIME_EXCEEDED):
                at = EXTENDED_ERROR.size + OFFENDER_AT
                return socket.inet_ntoa(data[at : at + 4])
    return ""
