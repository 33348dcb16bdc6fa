"""Addresses of a host name by the system's resolver, in threads that nobody has to wait for.

Room: shell. A lookup can hang for half a minute where DNS is down; a daemon thread does not hold up the server's end.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from functools import partial
from ipaddress import IPv4Address, IPv6Address, ip_address

from ginnel.core.relaydns.hosts import V4, V6, Lookup
from ginnel.shell.daemon_threads import DaemonThreads

PATIENCE = 15.0
AT_ONCE = 8
_NOTHING = {getattr(socket, name) for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY") if hasattr(socket, name)}

GetAddresses = Callable[[str, socket.AddressFamily], list[str]]
"""Raises socket.gaierror."""


class Resolver:
    def __init__(self, get_addresses: GetAddresses | None = None) -> None:
        self._get = get_addresses or _system
        self._threads = DaemonThreads(AT_ONCE)

    async def look_up(self, host: str) -> tuple[V4, V6]:
        v4, v6 = await asyncio.gather(self._family(host, socket.AF_INET), self._family(host, socket.AF_INET6))
        fours = tuple(ip for ip in v4 if isinstance(ip, IPv4Address)) if isinstance(v4, tuple) else v4
        sixes = tuple(ip for ip in v6 if isinstance(ip, IPv6Address)) if isinstance(v6, tuple) else v6
        return fours, sixes

    async def _family(self, host: str, family: socket.AddressFamily) -> tuple[IPv4Address | IPv6Address, ...] | Lookup:
        try:
            async with asyncio.timeout(PATIENCE):
                await self._threads.room()
                return usable(await self._threads.run(f"resolve {host[:60]}", partial(self._get, host, family)))
        except TimeoutError:
            return Lookup.FAILED
        except socket.gaierror as error:
            return Lookup.NONE if error.errno in _NOTHING else Lookup.FAILED
        except (OSError, UnicodeError):
            return Lookup.FAILED


def usable(texts: list[str]) -> tuple[IPv4Address | IPv6Address, ...] | Lookup:
    """Those that others can use. Debian writes a machine's own name into /etc/hosts as 127.0.1.1: that is no answer."""
    addresses = {ip_address(text.partition("%")[0]) for text in texts}
    kept = [ip for ip in addresses if not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)]
    return tuple(sorted(kept, key=lambda ip: (ip.version, ip.packed))) or Lookup.FAILED


def _system(host: str, family: socket.AddressFamily) -> list[str]:
    """The last dot: search domains are not for names out of a map."""
    return [str(found[4][0]) for found in socket.getaddrinfo(host.rstrip(".") + ".", None, family, socket.SOCK_STREAM)]
