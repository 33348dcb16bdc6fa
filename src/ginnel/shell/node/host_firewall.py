"""Word of this host's own firewall keeping datagrams from the tunnel's port, with the command that opens it.

Room: shell. Only for root. The kernel tells of each change of nft's rules (ufw's, firewalld's and iptables-nft's are
such); they are looked at again once it has been quiet for a moment, and seldom where they change all the time. Of
iptables-legacy the kernel tells nothing, so where it is in use it is looked at every now and then.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Protocol

from ginnel.core.firewall.backends import Judged, who_blocks
from ginnel.core.firewall.lint.model import LintError
from ginnel.core.firewall.lint.trips import Where
from ginnel.core.firewall.own_rules import opening
from ginnel.core.node.actions import HealthCode
from ginnel.shell.firewall.live import has_legacy, live_rules
from ginnel.shell.firewall.tools import ToolError
from ginnel.shell.node.links import Links

log = logging.getLogger(__name__)

NETLINK_NETFILTER = 12
SOL_NETLINK, NETLINK_ADD_MEMBERSHIP = 270, 1
NFNLGRP_NFTABLES = 7
FIRST_LOOK = 2.0  # a node that starts has better things to do
QUIET = 2.0
LEGACY_EVERY = 600.0
SHARE = 50  # of the time at most so much, one part in 50, goes into looking


class _Engine(Protocol):
    ports: tuple[int, int]


class _Network(Protocol):
    links: Links


class HostFirewall:
    """`health`: the line for people by its code, {} while nothing is blocked. engine: none while it is renewed."""

    def __init__(self, engine: Callable[[], _Engine | None], network: _Network, changed: Callable[[], None]) -> None:
        self.health: dict[str, str] = {}
        self._engine = engine
        self._network = network
        self._changed = changed

    async def watch(self) -> None:
        """Until cancelled; ends at once where this is not root."""
        if os.geteuid() != 0:
            return
        try:
            changes = _listener()
        except OSError as error:
            log.info("the kernel does not tell of firewall rules: %s", error)
            return
        with closing(changes):
            await asyncio.sleep(FIRST_LOOK)
            while True:
                started = time.monotonic()
                await self._look()
                await asyncio.sleep(max(QUIET, SHARE * (time.monotonic() - started)))
                await _changed(changes)

    async def _look(self) -> None:
        engine = self._engine()
        if engine is None or not engine.ports[0]:
            return
        names = {name for name, _ in self._network.links.defaults}
        got = await asyncio.to_thread(look, engine.ports[0], names.pop() if len(names) == 1 else "")
        health = {HealthCode.HOST_FIREWALL.value: got} if got is not None else {}
        if health != self.health:
            self.health = health
            self._changed()


def _listener() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_NETFILTER)
    try:
        opened.bind((0, 0))
        opened.setsockopt(SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, NFNLGRP_NFTABLES)
        opened.setblocking(False)
    except OSError:
        opened.close()
        raise
    return opened


async def _changed(changes: socket.socket) -> None:
    """Until rules have changed since the last look, and no more of them do for a moment."""
    loop = asyncio.get_running_loop()
    with suppress(TimeoutError):
        async with asyncio.timeout(LEGACY_EVERY if has_legacy() else None):
            await _one(loop, changes)
    with suppress(TimeoutError):
        async with asyncio.timeout(QUIET):
            while True:
                await _one(loop, changes)


async def _one(loop: asyncio.AbstractEventLoop, changes: socket.socket) -> None:
    with suppress(OSError):  # ENOBUFS: there were more than fit, which is word enough
        await loop.sock_recv(changes, 65536)


def look(port: int, interface: str) -> str | None:
    """The line for people; None where nothing is blocked, or where it is not clear."""
    try:
        return line(who_blocks(live_rules(), port, Where(interface)), port)
    except (ToolError, LintError) as error:
        log.info("this host's firewall cannot be judged: %s", error)
        return None


def line(judged: Judged, port: int) -> str | None:
    if not judged.blocked:
        return None
    by = judged.blocked[0].by
    return (
        f"this host's firewall drops what comes to UDP port {port} ({by.chain.where}: {by.text}), so peers behind "
        f"difficult NATs stay on a relay: run `{opening(judged, port)}`"
    )
