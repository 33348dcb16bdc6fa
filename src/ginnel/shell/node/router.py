"""Addresses, routes and policy rules of the tunnel, by netlink: brought to what is wanted, whatever stands there.

Room: shell. Everything of ours carries our protocol number, and routes lead to our own interface: only such entries
are ever removed, so another program's rules stay, and what a killed daemon left behind is found again.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from ginnel.core.node.routing import MARK, MARK_MASK, RULES, TABLE, Routing, Rule
from ginnel.shell.node.netlink import AsyncIPRoute, NetlinkError

PROTOCOL = 103
"""Our mark on rules and routes (`ip rule` shows `proto 103`); free in iproute2's rt_protos."""

FAMILIES = (socket.AF_INET, socket.AF_INET6)
UNREACHABLE = 7  # FR_ACT_UNREACHABLE
FAMILY_OFF = (13, 95, 97, 99)  # EACCES, EOPNOTSUPP, EAFNOSUPPORT, EADDRNOTAVAIL: IPv6 is off here


class Router:
    """One TUN interface. All methods can be called again and again. `problems`: what the kernel refused."""

    def __init__(self, tun: str) -> None:
        self._tun = tun
        self.problems: list[str] = []

    async def set(self, wanted: Routing) -> None:
        """Make the kernel's state the wanted one, by the least changes."""
        self.problems = []
        async with AsyncIPRoute() as netlink:
            index = await self._index(netlink)
            if index is None:
                self.problems.append(f"the interface {self._tun} is gone; restart ginneld")
                return
            with suppress(NetlinkError):
                await netlink.link("set", index=index, state="up")
            await self._set_addresses(netlink, index, wanted.addresses)
            await self._set_routes(netlink, index, wanted.routes)
            await self._set_rules(netlink)

    async def clear(self) -> None:
        """Remove all that is ours. The interface may be gone already, and its addresses and routes with it."""
        async with AsyncIPRoute() as netlink:
            index = await self._index(netlink)
            if index is not None:
                await self._set_routes(netlink, index, frozenset())
                await self._set_addresses(netlink, index, frozenset())
            for family in FAMILIES:
                for rule in await _our_rules(netlink, family):
                    await self._try("remove a rule", netlink.rule("del", **_rule_arguments(rule, family)))

    async def _index(self, netlink: AsyncIPRoute) -> int | None:
        found = await netlink.link_lookup(ifname=self._tun)
        return int(found[0]) if found else None

    async def _set_addresses(self, netlink: AsyncIPRoute, index: int, wanted: frozenset[str]) -> None:
        have = {f"{m.get('IFA_ADDRESS')}/{m['prefixlen']}" async for m in _dump(netlink.addr("dump", index=index))}
        have = {text for text in have if not ip_interface(text).is_link_local}
        for text in sorted(have - wanted):
            await self._try(f"remove {text}", netlink.addr("del", index=index, **_address(text)))
        for text in sorted(wanted - have):
            await self._try(f"add the address {text}", netlink.addr("add", index=index, **_address(text)))

    async def _set_routes(self, netlink: AsyncIPRoute, index: int, wanted: frozenset[str]) -> None:
        have: set[str] = set()
        for family in FAMILIES:
            async for message in _dump(netlink.route("dump", family=family, table=TABLE)):
                if message.get("oif") == index and message.get("table") == TABLE:
                    have.add(_destination(message, family))
        for text in sorted(have - wanted):
            await self._try(f"remove the route {text}", netlink.route("del", **_route(text, index)))
        for text in sorted(wanted - have):
            await self._try(f"add the route {text}", netlink.route("replace", proto=PROTOCOL, **_route(text, index)))

    async def _set_rules(self, netlink: AsyncIPRoute) -> None:
        for family in FAMILIES:
            have = await _our_rules(netlink, family)
            for rule in RULES:
                if rule not in have:
                    await self._try("add a policy rule", netlink.rule("add", **_rule_arguments(rule, family)))
            for rule in have:
                if rule not in RULES:
                    await self._try("remove a rule", netlink.rule("del", **_rule_arguments(rule, family)))

    async def _try(self, what: str, step: Any) -> None:
        """One refused step is told under `status` and does not stop the others; IPv6 that is off is no problem.
        (Without root netlink says EPERM, so EACCES is not taken for that.)"""
        try:
            await step
        except NetlinkError as error:
            if error.code not in FAMILY_OFF:
                self.problems.append(f"cannot {what}: {error.args[-1]}")


async def _dump(request: Any) -> AsyncIterator[Any]:
    """A dump's messages; a family that the kernel does not have gives none."""
    try:
        async for message in await request:
            yield message
    except NetlinkError as error:
        if error.code not in FAMILY_OFF:
            raise


async def _our_rules(netlink: AsyncIPRoute, family: int) -> list[Rule]:
    found = []
    async for message in _dump(netlink.rule("dump", family=family)):
        if message.get("FRA_PROTOCOL") == PROTOCOL:
            table = None if message["action"] == UNREACHABLE else message.get("FRA_TABLE")
            found.append(Rule(message.get("FRA_PRIORITY") or 0, table, marked=message.get("FRA_FWMARK") == MARK))
    return found


def _rule_arguments(rule: Rule, family: int) -> dict[str, Any]:
    arguments: dict[str, Any] = {"priority": rule.priority, "family": family, "FRA_PROTOCOL": PROTOCOL}
    if rule.marked:
        arguments |= {"fwmark": MARK, "fwmask": MARK_MASK}
    return arguments | ({"action": "unreachable"} if rule.table is None else {"table": rule.table})


def _address(text: str) -> dict[str, Any]:
    interface = ip_interface(text)
    family = socket.AF_INET if interface.version == 4 else socket.AF_INET6
    return {"address": str(interface.ip), "prefixlen": interface.network.prefixlen, "family": family}


def _route(text: str, index: int) -> dict[str, Any]:
    family = socket.AF_INET if ip_network(text).version == 4 else socket.AF_INET6
    return {"dst": text, "oif": index, "table": TABLE, "family": family}


def _destination(message: Any, family: int) -> str:
    zero = "0.0.0.0" if family == socket.AF_INET else "::"  # noqa: S104
    return f"{ip_address(message.get('dst') or zero)}/{message['dst_len']}"
