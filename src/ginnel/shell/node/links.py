"""This machine's addresses and default routes, and word when they change.

Room: shell. A raw netlink socket says only *that* something changed, so that a flood of messages costs one look; what
there is now is then read whole.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_interface
from typing import Any

from ginnel.core.node.endpoints import LocalAddress
from ginnel.shell.node.netlink import AsyncIPRoute

# linux/rtnetlink.h: RTMGRP_LINK, _IPV4_IFADDR, _IPV4_ROUTE, _IPV4_RULE, _IPV6_IFADDR, _IPV6_ROUTE, IPV6_RULE
GROUPS = 0x1 | 0x10 | 0x40 | 0x80 | 0x100 | 0x400 | 1 << 18
SETTLE = 0.1
TABLE_MAIN = 254
IFF_UP = 1
IFA_F_TENTATIVE = 0x40
RTN_UNICAST = 1


@dataclass(frozen=True, slots=True)
class Links:
    """Addresses of interfaces that are up, the tunnel's own left out; default routes as (interface, gateway)."""

    addresses: tuple[LocalAddress, ...] = ()
    defaults: frozenset[tuple[str, str]] = frozenset()

    def major(self, before: Links) -> bool:
        """Whether the way out moved: other default routes, or other addresses on their interfaces."""
        return self.defaults != before.defaults or self._outward() != before._outward()

    def _outward(self) -> frozenset[LocalAddress]:
        names = {name for name, _ in self.defaults}
        return frozenset(a for a in self.addresses if a.interface in names)


async def read_links(tun: str) -> Links:
    """What there is now."""
    async with AsyncIPRoute() as netlink:
        names = {m["index"]: m.get("IFLA_IFNAME") async for m in await netlink.link("dump") if m["flags"] & IFF_UP}
        addresses = [
            LocalAddress(names[m["index"]], ip_interface(f"{m.get('IFA_ADDRESS')}/{m['prefixlen']}"))
            async for m in await netlink.addr("dump")
            if m["index"] in names and names[m["index"]] != tun and not m["flags"] & IFA_F_TENTATIVE
        ]
        defaults = await _defaults(netlink, names)
    return Links(tuple(sorted(addresses, key=str)), frozenset(d for d in defaults if d[0] != tun))


async def _defaults(netlink: AsyncIPRoute, names: dict[int, Any]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for family in (socket.AF_INET, socket.AF_INET6):
        async for m in await netlink.route("dump", family=family, table=TABLE_MAIN):
            if m["dst_len"] == 0 and m["type"] == RTN_UNICAST and m.get("oif") in names:
                found.add((names[m.get("oif")], str(m.get("gateway") or "")))
    return found


async def changes() -> AsyncIterator[None]:
    """Yield after each burst of link, address, route or rule messages, and once for each message that was lost."""
    loop = asyncio.get_running_loop()
    stirred = asyncio.Event()
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.NETLINK_ROUTE) as listener:
        listener.bind((0, GROUPS))
        loop.add_reader(listener, _swallow, listener, stirred)
        try:
            while True:
                await stirred.wait()
                await asyncio.sleep(SETTLE)
                stirred.clear()
                yield
        finally:
            loop.remove_reader(listener)


def _swallow(listener: socket.socket, stirred: asyncio.Event) -> None:
    with suppress(OSError):  # ENOBUFS: messages were lost, which is a change as well
        listener.recv(65536)
    stirred.set()
