"""This machine's own firewall, for the doctor: what it does to the mesh, and how to open it.

Room: shell. The rules are read as `firewall open` reads them; core/firewall/own_rules.py judges.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address

from ginnel.core.firewall.lint.model import LintError
from ginnel.core.firewall.lint.trips import Where
from ginnel.core.firewall.own_rules import OwnRules, own_rules
from ginnel.shell.daemon_threads import DaemonThreads
from ginnel.shell.firewall.live import live_rules
from ginnel.shell.firewall.tools import ToolError
from ginnel.shell.node.links import Links
from ginnel.wire.doctor import TEXT_LIMIT, FirewallTold, Stopped
from ginnel.words import IpAddress

log = logging.getLogger(__name__)

PATIENCE = 2.5
"""Seconds: who asks waits no longer, and the look goes on for the next one."""

KEPT = 1.0
"""Seconds that a look is good for, at the least; else SHARE times what it took, so that peers who ask cost little."""
SHARE = 10


class HostFirewall:
    """Looked at when somebody asks, and not again for a while. `tun`: the mesh's interface."""

    def __init__(self, tun: str) -> None:
        self._tun = tun
        self._threads = DaemonThreads(1)
        self._told: FirewallTold | None = None
        self._good_until = float("-inf")
        self._look: asyncio.Task[FirewallTold | None] | None = None

    async def look(self, port: int, links: Links, mesh: Sequence[IpAddress]) -> FirewallTold | None:
        """None: the rules cannot be read or were not within PATIENCE, or there is no port to judge."""
        if asyncio.get_running_loop().time() < self._good_until:
            return self._told
        if self._look is None or self._look.done():
            self._look = asyncio.create_task(self._fresh(port, links, tuple(mesh)))
        try:
            async with asyncio.timeout(PATIENCE):
                return await asyncio.shield(self._look)
        except TimeoutError:
            return None

    async def _fresh(self, port: int, links: Links, mesh: tuple[IpAddress, ...]) -> FirewallTold | None:
        loop = asyncio.get_running_loop()
        await self._threads.room()
        began = loop.time()
        self._told = await self._threads.run("firewall rules", partial(look, port, links, self._tun, mesh))
        self._good_until = loop.time() + max(KEPT, SHARE * (loop.time() - began))
        return self._told


def look(port: int, links: Links, tun: str, mesh: Sequence[IpAddress]) -> FirewallTold | None:
    """As `HostFirewall.look`, and blocking."""
    if not port:
        return None
    names = {name for name, _ in links.defaults}
    interface = names.pop() if len(names) == 1 else ""
    local = tuple(ip_address(str(a.address.ip)) for a in links.addresses if a.interface == interface)
    try:
        return _told(own_rules(live_rules(), port, Where(interface, local), tun, mesh))
    except (ToolError, LintError) as error:
        log.info("this host's firewall cannot be judged: %s", error)
        return None


def _told(rules: OwnRules) -> FirewallTold:
    stopped = tuple(Stopped(one.need, one.rule[:TEXT_LIMIT], one.opens) for one in rules.stopped)
    return FirewallTold(rules.backend, rules.closed, rules.rule[:TEXT_LIMIT], rules.opens, stopped)
