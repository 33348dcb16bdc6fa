"""NOTIFY messages out and their answers in, by UDP from ports of their own.

Room: shell.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import Any

from ginnel.core.relaydns.notify import GaveUp, Notifier, SendNotify
from ginnel.shell.relaydns.keyfile import RelayDnsError
from ginnel.words import Endpoint, Instant

log = logging.getLogger("ginnel.relaydns")


class NotifySender(asyncio.DatagramProtocol):
    """Performs a Notifier's actions. One socket for each family that a secondary is of."""

    def __init__(self, origin: bytes, secondaries: tuple[Endpoint, ...]) -> None:
        self.core = Notifier(origin, secondaries, lambda: secrets.randbits(16))
        self._secondaries = secondaries
        self._transports: dict[bool, asyncio.DatagramTransport] = {}

    async def open(self) -> None:
        """Raises RelayDnsError."""
        loop = asyncio.get_running_loop()
        for v4 in {to.is_v4 for to in self._secondaries}:
            local = ("0.0.0.0" if v4 else "::", 0)  # noqa: S104  (answers come back from anywhere it sent to)
            try:
                transport, _ = await loop.create_datagram_endpoint(lambda: self, local_addr=local)
            except OSError as error:
                family = "IPv4" if v4 else "IPv6"
                raise RelayDnsError(
                    f"relay_dns.notify: this machine cannot send by {family}: {error.strerror}"
                ) from None
            self._transports[v4] = transport

    def close(self) -> None:
        for transport in self._transports.values():
            transport.close()

    def changed(self, now: Instant) -> None:
        self._perform(list(self.core.changed(now)))

    def tick(self, now: Instant) -> None:
        self._perform(self.core.tick(now))

    def _perform(self, actions: list[Any]) -> None:
        for action in actions:
            match action:
                case SendNotify(to, message):
                    self._transports[to.is_v4].sendto(message, (str(to.ip), to.port))
                case GaveUp(to):
                    log.warning("the secondary DNS server %s does not answer; it follows by itself in minutes", to)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        try:
            source = Endpoint.parse(f"[{addr[0]}]:{addr[1]}" if ":" in addr[0] else f"{addr[0]}:{addr[1]}")
        except ValueError:
            return  # of a link-local address with its link
        self.core.receive(source, data)

    def error_received(self, exc: Exception) -> None:
        log.debug("NOTIFY: %s", exc)
