"""A net check without the daemon: the same core, on UDP sockets of its own.

Room: shell. What it finds is true of these sockets, whose mappings at a NAT are not the tunnel's.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_address
from typing import Any

from ginnel.core.node import actions as act
from ginnel.core.node.names import Names
from ginnel.core.node.netcheck import ENOUGH_REGIONS
from ginnel.core.node.netcheck_report import Report
from ginnel.core.node.own_network import OwnNetwork
from ginnel.core.node.relays import Relays
from ginnel.core.node.routing import MARK
from ginnel.shell.node.dial import SO_MARK, resolve
from ginnel.shell.node.icmp import echo
from ginnel.shell.node.latency import measure
from ginnel.shell.node.links import read_links
from ginnel.shell.node.port80 import ask
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import Endpoint, Instant, IpAddress

log = logging.getLogger(__name__)

READ = 2048
AT_ONCE = 64
ANY = {socket.AF_INET: "0.0.0.0", socket.AF_INET6: "::"}  # noqa: S104  (only answers to what was asked count)


NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # not in the kernel; switched off by sysctl
ADVICE = {
    errno.EADDRINUSE: "another program has it, perhaps ginneld; name another by --bind-port",
    errno.EADDRNOTAVAIL: "no interface of this machine has this address (`ip address` lists them)",
    errno.EACCES: "ports below 1024 are for root; name a higher one by --bind-port",
}


class BindError(Exception):
    """One line for people."""


@asynccontextmanager
async def standalone(
    derp_map: DERPMap, *, address: IpAddress | None = None, port: int = 0
) -> AsyncIterator[StandaloneCheck]:
    """`address`, `port`: where to send from; None, 0: the system's choice. Raises BindError."""
    sockets = _bind(address, port)
    async with asyncio.TaskGroup() as tasks:
        check = StandaloneCheck(derp_map, sockets, tasks)
        try:
            yield check
        finally:
            check.close()


class StandaloneCheck:
    """`report` may be called again and again: home stays as steady as a node's."""

    def __init__(self, derp_map: DERPMap, sockets: dict[int, socket.socket], tasks: asyncio.TaskGroup) -> None:
        """`sockets`: bound, by IP version; closed by `close`."""
        names = Names()
        self._own = OwnNetwork(Relays(names, os.urandom), names, os.urandom)
        self._names = names
        self._map = derp_map
        self._sockets = sockets
        self._group = tasks
        self._tasks: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._waiting: dict[int, asyncio.Future[Report]] = {}
        self._last_id = 0
        for opened in sockets.values():
            asyncio.get_running_loop().add_reader(opened, self._receive, opened)
        ports = {version: opened.getsockname()[1] for version, opened in sockets.items()}
        with suppress(OSError):
            self._own.endpoints.interfaces_changed(read_links("").addresses)
        self._own.endpoints.port_bound(ports.get(4, 0), ports.get(6, 0), 0)

    def close(self) -> None:
        for opened in self._sockets.values():
            asyncio.get_running_loop().remove_reader(opened)
            opened.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._sockets = {}

    async def report(self, *, full: bool = True, enough: int = ENOUGH_REGIONS) -> Report:
        """Within about 5 s. The first is a full one whatever is asked for."""
        self._last_id = number = self._last_id + 1
        answer: asyncio.Future[Report] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        try:
            if number == 1:
                self._perform(self._own.map_changed(self._map, self._now()))
            self._perform(self._own.requested(number, self._now(), full=full, enough=enough))
            return await answer
        finally:
            del self._waiting[number]

    def _now(self) -> Instant:
        return Instant(asyncio.get_running_loop().time())

    def _perform(self, actions: Sequence[act.Action]) -> None:
        if not self._sockets:
            return
        for action in actions:
            match action:
                case act.SendUdp(to, packet):
                    self._send(to, packet)
                case act.Resolve(host):
                    self._spawn(self._resolve(host))
                case act.MeasureHttps():
                    self._spawn(self._measure(action))
                case act.MeasureIcmp():
                    self._spawn(self._echo(action))
                case act.AskPort80():
                    self._spawn(self._ask_port80(action))
                case act.NetcheckDone(number, report):
                    self._tell(number, report)
                case _:
                    log.debug("not done without a node: %s", type(action).__name__)
        self._wake_on_time()

    def _tell(self, number: int, report: Report) -> None:
        """Who asked may have been cancelled, and not have run since."""
        answer = self._waiting.get(number)
        if answer is not None and not answer.done():
            answer.set_result(report)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _wake_on_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        at = self._own.next_timeout()
        tick = lambda: self._perform(self._own.tick(self._now()))  # noqa: E731
        self._timer = asyncio.get_running_loop().call_at(at, tick) if at is not None else None

    # --- sockets -----------------------------------------------------------------------------------------------

    def _send(self, to: Endpoint, packet: bytes) -> None:
        opened = self._sockets.get(to.ip.version)
        try:
            if opened is None:
                raise OSError(errno.EAFNOSUPPORT, "no socket of that family")
            opened.sendto(packet, (str(to.ip), to.port))
        except OSError as error:
            log.debug("STUN to %s: %s", to, error)
            self._own.unsendable(to)

    def _receive(self, opened: socket.socket) -> None:
        for _ in range(AT_ONCE):
            try:
                packet, (host, port, *_) = opened.recvfrom(READ)
            except OSError:  # nothing more, or an ICMP error that belongs to some earlier packet
                return
            source = Endpoint(ip_address(host.partition("%")[0]), port)
            self._perform(self._own.stun_received(source, packet, self._now()) or [])

    async def _resolve(self, host: str) -> None:
        found = [ip_address(text.partition("%")[0]) for text in await resolve(host)]
        self._names.resolved(host, found, self._now())
        self._perform(self._own.resolved(self._now()))

    async def _measure(self, action: act.MeasureHttps) -> None:
        seconds, version = await measure(action, mark=MARK) or (None, 0)
        self._perform(self._own.latency_measured(action.region, seconds, self._now(), version=version))

    async def _echo(self, action: act.MeasureIcmp) -> None:
        seconds = await echo(action, mark=MARK)
        self._perform(self._own.icmp_measured(action.region, seconds, self._now()))

    async def _ask_port80(self, action: act.AskPort80) -> None:
        answer = await ask(action, mark=MARK)
        self._perform(self._own.port80_answered(action.number, answer, self._now()))


def _bind(address: IpAddress | None, port: int) -> dict[int, socket.socket]:
    """By IP version: both families on one port where nothing else is said. Raises BindError."""
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    bound: dict[int, socket.socket] = {}
    for version in (address.version,) if address is not None else (4, 6):
        try:
            bound[version] = _bound(families[version], str(address or ANY[families[version]]), port)
        except OSError as error:
            if version == 6 and address is None and (not port or error.errno in NO_IPV6):
                continue
            for opened in bound.values():
                opened.close()
            where = f"{address}, " if address is not None else ""
            where += f"UDP port {port}" if port else "any UDP port"
            raise BindError(f"cannot send from {where}: {ADVICE.get(error.errno or 0, error.strerror)}") from None
    return bound


def _bound(family: int, host: str, port: int) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        with suppress(PermissionError):
            opened.setsockopt(socket.SOL_SOCKET, SO_MARK, MARK)
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return opened
