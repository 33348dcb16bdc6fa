"""This machine's own firewall: whether it lets uninvited packets come to the tunnel's port, and how to open that.

Room: shell. The rules are read as the system's tools list them; core/firewall/lint judges.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from ginnel.core.firewall.lint.judge import Answer, Finding, inbound_udp
from ginnel.core.firewall.lint.model import LintError, RuleSet
from ginnel.core.firewall.lint.read import read
from ginnel.core.firewall.lint.trips import Where
from ginnel.shell.node.links import Links
from ginnel.wire.doctor import FirewallTold

log = logging.getLogger(__name__)

TOOL_TIME = 2.0
KEPT = 5.0  # seconds that a look is good for
RULES_LIMIT = 4 << 20
SBIN = ("/usr/sbin", "/sbin", "/usr/bin", "/bin")
UFW_CONF = Path("/etc/ufw/ufw.conf")
LISTINGS = (("nft", ("-j", "list", "ruleset")), ("iptables-save", ()), ("iptables-legacy-save", ()))


class HostFirewall:
    """Looked at when somebody asks, and not again within KEPT."""

    def __init__(self) -> None:
        self.told: FirewallTold | None = None
        self._looked = float("-inf")
        self._looking = asyncio.Lock()

    async def look(self, port: int, links: Links) -> FirewallTold | None:
        async with self._looking:
            now = asyncio.get_running_loop().time()
            if now - self._looked > KEPT:
                self.told, self._looked = await _look(port, links), now
            return self.told


async def _look(port: int, links: Links) -> FirewallTold | None:
    """None: no rules can be read, or there is no port to judge. A packet must pass what each tool has set; what nft
    cannot put into words of its own (iptables' matches), iptables' listing has."""
    if not port:
        return None
    interface = min((name for name, _ in links.defaults), default="")
    local = tuple(ip_address(str(a.address.ip)) for a in links.addresses if a.interface == interface)
    where = Where(interface, local)
    sets = [rules for listing in LISTINGS if (rules := await _rules(*listing)) is not None]
    if not sets:
        return None
    found = [finding for rules in sets for finding in inbound_udp(rules, port, where) if finding.family == 4]
    closing = [finding for finding in found if finding.answer in (Answer.BLOCKED, Answer.DEPENDS)]
    clear = [finding for finding in found if finding.answer is not Answer.UNKNOWN]
    said = next(iter([*closing, *clear, *found]), None)
    return _told(said, port) if said is not None else FirewallTold(backend="none", closed=False)


def _told(found: Finding, port: int) -> FirewallTold:
    ufw = _ufw_is_on()
    closed = {Answer.PASSES: False, Answer.UNKNOWN: None}.get(found.answer, True)
    quoted = found.quotes[0] if found.quotes else None
    return FirewallTold(
        backend="ufw" if ufw else "nftables",
        closed=closed,
        rule=f"{quoted.text} ({quoted.where})"[:300] if quoted is not None and closed else "",
        opens=f"sudo ufw allow {port}/udp" if ufw else "sudo ginnel firewall open",
    )


def _ufw_is_on() -> bool:
    try:
        return "\nenabled=yes" in "\n" + UFW_CONF.read_text().lower()
    except OSError:
        return False


async def _rules(program: str, arguments: Sequence[str]) -> RuleSet | None:
    """A tool that is not there has set nothing."""
    path = shutil.which(program, path=os.pathsep.join(SBIN))
    listed = await _listed(path, arguments) if path is not None else None
    if not listed:
        return None
    try:
        return read(listed)
    except LintError as error:
        log.debug("the rules of %s: %s", program, error)
        return None


async def _listed(path: str, arguments: Sequence[str]) -> bytes | None:
    try:
        listing = await asyncio.create_subprocess_exec(
            path, *arguments, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL, limit=RULES_LIMIT, env={"LC_ALL": "C"},
        )  # fmt: skip
    except OSError as error:
        log.debug("%s: %s", path, error)
        return None
    try:
        async with asyncio.timeout(TOOL_TIME):
            assert listing.stdout is not None
            listed = await listing.stdout.read(RULES_LIMIT)
            return listed if await listing.wait() == 0 else None
    except TimeoutError:
        listing.kill()
        await listing.wait()
        return None
