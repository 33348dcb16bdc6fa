"""Joins the mesh core to the pump: what the pump notices goes in, what the core decides is performed, one to one.

Room: shell. No packet passes here: only disco, STUN and twice a second word of a peer's traffic come up.
"""

from __future__ import annotations

import asyncio
import errno
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from ginnel.core.node import actions as act
from ginnel.core.node.actions import Action
from ginnel.core.node.mesh import Mesh
from ginnel.core.node.netcheck import ENOUGH_REGIONS
from ginnel.core.node.routing import MARK
from ginnel.shell.node.dial import resolve
from ginnel.shell.node.icmp import echo
from ginnel.shell.node.latency import measure
from ginnel.shell.node.port80 import ask
from ginnel.shell.node.refused import Refused
from ginnel.words import Endpoint, Instant, NodeKey, RegionId

log = logging.getLogger(__name__)

BATCH = 256
MTU = 1280


class PumpLike(Protocol):
    """The part of `Pump` (_native.pyi) that is used; a test puts its own in."""

    def open_tun(self, name: str, mtu: int) -> str: ...
    def bind(self, port: int) -> tuple[int, int]: ...
    def set_peer(self, key: bytes, allowed_ips: Any) -> None: ...
    def reset_peer(self, key: bytes) -> None: ...
    def ask_inside(self, key: bytes, source: str, to: str) -> None: ...
    def remove_peer(self, key: bytes) -> None: ...
    def steer(self, key: bytes, endpoint: Any, region: int, *, socket: int = 0) -> None: ...
    def set_addresses(self, addresses: Any) -> None: ...
    def set_filter(self, rules: Any) -> None: ...
    def send_udp(self, to: Any, packet: bytes) -> None: ...
    def open_sides(self, count: int) -> list[tuple[int, int]]: ...
    def close_sides(self, numbers: Any) -> None: ...
    def send_side(self, socket: int, to: Any, packet: bytes, *, ttl: int = 0) -> None: ...
    def relay_open(self, region: int, server_name: str, addresses: Any, verify: str) -> None: ...
    def relay_move(self, region: int, server_name: str, addresses: Any, verify: str) -> None: ...
    def relay_close(self, region: int) -> None: ...
    def relay_prefer(self, region: int) -> None: ...
    def relay_send(self, region: int, to: bytes, packet: bytes) -> None: ...
    def drain(self, limit: int) -> Any: ...
    def fileno(self) -> int: ...
    def peers(self) -> Any: ...
    def counters(self) -> dict[str, int]: ...
    def close(self) -> None: ...


class StartError(Exception):
    """One line for people: what happened and what to do."""


class BindError(StartError):
    """No UDP port can be had."""


class EngineClosed(Exception):
    """One line for people."""


class Engine:
    """One pump and one mesh, from `start` to `close`. `report` is called with what the server should know, `changed`
    when states may differ, `call` with a peer that the server is to call."""

    def __init__(
        self,
        pump: PumpLike,
        mesh: Mesh,
        *,
        spawn: Callable[[Coroutine[Any, Any, None]], object],
        report: Callable[[act.ReportToControl], None],
        changed: Callable[[], None],
        call: Callable[[NodeKey], None] = lambda _: None,
    ) -> None:
        self.pump = pump
        self.mesh = mesh
        self.home = RegionId(0)
        self.health: dict[str, str] = {}
        self.ports = (0, 0)
        self._refused = Refused()
        self._spawn = spawn
        self._report = report
        self._changed = changed
        self._call = call
        self._timer: asyncio.TimerHandle | None = None
        self._pings: dict[int, asyncio.Future[act.PingAnswered | act.PingFailed]] = {}
        self._netchecks: dict[int, asyncio.Future[act.NetcheckDone]] = {}
        self._last_id = 0
        self.configured = 0
        self._open = False

    # --- life --------------------------------------------------------------------------------------------------

    def start(self, port: int) -> None:
        """Bind the sockets and listen to the pump. Raises BindError when not even a random port can be had."""
        self.configured = port
        self._open = True
        asyncio.get_running_loop().add_reader(self.pump.fileno(), self._drain)
        self._bind(port)

    def close(self) -> None:
        """Stop the pump; its TUN device goes. A second time does nothing."""
        if not self._open:
            return
        self._open = False
        asyncio.get_running_loop().remove_reader(self.pump.fileno())
        if self._timer is not None:
            self._timer.cancel()
        waiting: list[asyncio.Future[Any]] = [*self._pings.values(), *self._netchecks.values()]
        for question in waiting:
            if not question.done():
                question.set_exception(EngineClosed("the node went down meanwhile"))
        self.pump.close()

    def input(self, call: Callable[[Mesh, Instant], list[Action]]) -> None:
        """Give the mesh an input, perform what follows, wake it on time."""
        if not self._open:
            return
        for action in call(self.mesh, self.now()):
            self._perform(action)
        self._wake_on_time()
        self._changed()

    def now(self) -> Instant:
        return Instant(asyncio.get_running_loop().time())

    def _wake_on_time(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        at = self.mesh.next_timeout()
        if at is not None and self._open:
            self._timer = asyncio.get_running_loop().call_at(at, self.input, lambda mesh, now: mesh.tick(now))

    # --- from the pump -----------------------------------------------------------------------------------------

    def _drain(self) -> None:
        batch = self.pump.drain(BATCH)

        def take(mesh: Mesh, now: Instant) -> list[Action]:
            actions: list[Action] = []
            for aside in batch:
                actions += noticed(mesh, aside, now)
            return [*actions, *mesh.tick(now)]

        self.input(take)

    # --- to the pump -------------------------------------------------------------------------------------------

    def _perform(self, action: Action) -> None:
        try:
            if self._to_pump(action):
                self._refused.taken(action)
            else:
                self._to_shell(action)
        except (ValueError, OverflowError) as error:  # of the map; the rest of it still counts
            log.warning("the tunnel refused %s: %s", type(action).__name__, error)
            self._refused.refused(action, str(error))
            self._stayed(action)
        except OSError as error:  # no thread or descriptor is left for a relay's connection
            log.warning("%s: %s", type(action).__name__, error)
            if isinstance(action, act.RelayOpen):
                region, why = action.region, error.strerror or str(error)
                again = lambda mesh, now: mesh.relay_down(region, why, now)  # noqa: E731
                asyncio.get_running_loop().call_soon(self.input, again)
            self._stayed(action)
        self._note(act.HealthCode.BAD_MAP, self._refused.line)

    def _stayed(self, action: Action) -> None:
        if isinstance(action, act.RelayMove):
            region = action.region
            asyncio.get_running_loop().call_soon(self.input, lambda mesh, now: mesh.relay_stayed(region, now))

    def _to_pump(self, action: Action) -> bool:
        pump = self.pump
        match action:
            case act.SetPeer(peer, allowed_ips):
                pump.set_peer(peer.raw, allowed_ips)
            case act.ResetPeer(peer):
                pump.reset_peer(peer.raw)
            case act.AskInside(peer, source, to):
                pump.ask_inside(peer.raw, source, to)
            case act.RemovePeer(peer):
                pump.remove_peer(peer.raw)
            case act.Steer(peer, endpoint, region, socket):
                pump.steer(peer.raw, _address(endpoint) if endpoint is not None else None, region, socket=socket)
            case act.SetAddresses(prefixes):
                pump.set_addresses(prefixes)
            case act.SetFilter(rows):
                pump.set_filter(rows)
            case act.SendUdp(to, packet, 0):
                pump.send_udp(_address(to), packet)
            case act.SendUdp(to, packet, socket, ttl):
                pump.send_side(socket, _address(to), packet, ttl=ttl)
            case act.CloseSides(sockets):
                pump.close_sides(sockets)
            case act.SendRelay(region, to, packet):
                pump.relay_send(region, to.raw, packet)
            case act.RelayOpen(region, server_name, addresses, verify):
                pump.relay_open(region, server_name, [_address(a) for a in addresses], verify)
            case act.RelayMove(region, server_name, addresses, verify):
                pump.relay_move(region, server_name, [_address(a) for a in addresses], verify)
            case act.RelayClose(region):
                pump.relay_close(region)
            case act.RelayPrefer(region):
                self.home = region
                pump.relay_prefer(region)
            case _:
                return False
        return True

    def _to_shell(self, action: Action) -> None:
        match action:
            case act.ReportToControl():
                self._report(action)
            case act.Resolve(host):
                self._spawn(self._resolve(host))
            case act.MeasureHttps():
                self._spawn(self._measure(action))
            case act.OpenSides(request, count):
                asyncio.get_running_loop().call_soon(self._open_sides, request, count)
            case act.MeasureIcmp():
                self._spawn(self._echo(action))
            case act.AskPort80():
                self._spawn(self._ask_port80(action))
            case act.CallByServer(peer):
                self._call(peer)
            case act.Rebind(port):
                asyncio.get_running_loop().call_soon(self._rebind, port)
            case act.PingAnswered(id=number) | act.PingFailed(id=number):
                _settle(self._pings, number, action)
            case act.NetcheckDone(id=number):
                _settle(self._netchecks, number, action)
            case act.Health(code, text):
                self._note(code, text)

    def _note(self, code: str, text: str | None) -> None:
        if text is None:
            self.health.pop(code, None)
        else:
            self.health[code] = text

    async def _resolve(self, host: str) -> None:
        found = [Endpoint.parse(f"[{ip}]:0" if ":" in ip else f"{ip}:0").ip for ip in await resolve(host)]
        self.input(lambda mesh, now: mesh.resolved(host, found, now))

    async def _measure(self, action: act.MeasureHttps) -> None:
        seconds, version = await measure(action, mark=MARK) or (None, 0)
        self.input(lambda mesh, now: mesh.latency_measured(action.region, seconds, now, version=version))

    async def _echo(self, action: act.MeasureIcmp) -> None:
        seconds = await echo(action, mark=MARK)
        self.input(lambda mesh, now: mesh.icmp_measured(action.region, seconds, now))

    async def _ask_port80(self, action: act.AskPort80) -> None:
        answer = await ask(action, mark=MARK)
        self.input(lambda mesh, now: mesh.port80_answered(action.number, answer, now))

    def _open_sides(self, request: int, count: int) -> None:
        if not self._open:
            return
        try:
            opened = self.pump.open_sides(count)
        except OSError as error:
            log.warning("no further sockets to search a path with: %s", error)
            opened = []
        self.input(lambda mesh, now: mesh.sides_opened(request, opened, now))

    # --- ports -------------------------------------------------------------------------------------------------

    def prefer_port(self, port: int) -> None:
        """From now on this one is wished for; 0: any."""
        if port != self.configured:
            self.configured = port
            self._rebind(port)

    def _rebind(self, port: int) -> None:
        if not self._open:
            return
        try:
            self._bind(port)
        except BindError as error:
            self.health[act.HealthCode.NO_UDP4_BIND] = str(error)

    def _bind(self, port: int) -> None:
        """The wanted port, else any; the other one is told under `status`."""
        self.ports = self._bound(port)
        self.health.pop(act.HealthCode.NO_UDP4_BIND, None)
        if self.configured and self.configured not in self.ports:
            self.health["port-taken"] = f"UDP port {self.configured} is taken; using {self.ports[0]} instead"
        else:
            self.health.pop("port-taken", None)
        v4, v6 = self.ports
        self.input(lambda mesh, now: mesh.port_bound(v4, v6, self.configured, now))

    def _bound(self, port: int) -> tuple[int, int]:
        for candidate in (port, 0) if port else (0,):
            try:
                return self.pump.bind(candidate)
            except OSError as error:
                if candidate == 0 or error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise BindError(f"no UDP port can be bound: {error.strerror or error}") from None
                log.warning("UDP port %d cannot be had: %s", candidate, error)
        raise AssertionError("unreachable")

    # --- questions ---------------------------------------------------------------------------------------------

    async def ping(self, peer: NodeKey, size: int) -> act.PingAnswered | act.PingFailed:
        number = self._next_id()
        answer: asyncio.Future[act.PingAnswered | act.PingFailed] = asyncio.get_running_loop().create_future()
        self._pings[number] = answer
        try:
            self.input(lambda mesh, now: mesh.ping_requested(number, peer, size, now))
            return await answer
        finally:
            del self._pings[number]

    async def netcheck(self, *, full: bool = True, enough: int = ENOUGH_REGIONS) -> act.NetcheckDone:
        number = self._next_id()
        answer: asyncio.Future[act.NetcheckDone] = asyncio.get_running_loop().create_future()
        self._netchecks[number] = answer
        try:
            self.input(lambda mesh, now: mesh.netcheck_requested(number, now, full=full, enough=enough))
            return await answer
        finally:
            del self._netchecks[number]

    def _next_id(self) -> int:
        self._last_id += 1
        return self._last_id


def noticed(mesh: Mesh, aside: Any, now: Instant) -> list[Action]:
    """One thing that the pump set aside, as an input of the mesh."""
    match aside:
        case ("disco", source, packet):
            return mesh.disco_received(_endpoint(source), packet, now, _socket(source))
        case ("stun", source, packet):
            return mesh.stun_received(_endpoint(source), packet, now, _socket(source))
        case ("relayed-disco", region, key, packet):
            return mesh.relayed_disco_received(RegionId(region), NodeKey(key), packet, now)
        case ("sent", key):
            return mesh.sent(NodeKey(key), now)
        case ("received", key, int(region)):
            return mesh.received(NodeKey(key), RegionId(region), now)
        case ("received", key, source):
            return mesh.received(NodeKey(key), _endpoint(source), now)
        case ("handshake", key):
            return mesh.handshake(NodeKey(key), now)
        case ("unsendable", to, number):
            return mesh.unsendable(_endpoint(to), number, now, _socket(to))
        case _:
            return _relay_noticed(mesh, aside, now)


def _relay_noticed(mesh: Mesh, aside: Any, now: Instant) -> list[Action]:
    match aside:
        case ("relay-wanted", region):
            return mesh.relay_wanted(RegionId(region), now)
        case ("relay-up", region, _, _):
            return mesh.relay_up(RegionId(region), now)
        case ("relay-down", region, why, silent):
            return mesh.relay_down(RegionId(region), why, now, silent=silent)
        case ("relay-stayed", region, why):
            log.info("the connection to region %d stays where it is: %s", region, why)
            return mesh.relay_stayed(RegionId(region), now)
        case ("relay-gone", region, key, reason):
            return mesh.relay_gone(RegionId(region), NodeKey(key), reason, now)
        case ("relay-health", region, problem):
            return mesh.relay_health(RegionId(region), problem, now)
        case ("relay-restarting", region, reconnect_in, _try_for):
            return mesh.relay_restarting(RegionId(region), reconnect_in / 1000, now)
    log.error("the tunnel set something unknown aside: %s", aside[0])
    return []


def _settle(waiting: dict[int, Any], number: int, outcome: object) -> None:
    answer = waiting.get(number)
    if answer is not None and not answer.done():
        answer.set_result(outcome)


def _address(endpoint: Endpoint) -> tuple[str, int]:
    return (str(endpoint.ip), endpoint.port)


def _socket(address: tuple[Any, ...]) -> int:
    """The side socket's number behind an address; 0: the tunnel's own."""
    return address[2] if len(address) > 2 else 0


def _endpoint(address: tuple[Any, ...]) -> Endpoint:
    ip, port = address[:2]
    return Endpoint.parse(f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}")
