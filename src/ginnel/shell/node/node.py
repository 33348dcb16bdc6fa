"""One mesh member of the daemon: what the user wants, the login, the map, the engine and the routes, held together.

Room: shell. Decisions about the protocols are in the cores; here is the order of things: a new node key means a new
engine, a map means routes, `down` means that nothing of ours is left in the kernel.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import msgspec

from ginnel.core.node.actions import ReportToControl
from ginnel.core.node.control_session import ControlAction, ControlSession, KeyExpired, Merge, Report
from ginnel.core.node.login import Idle, KeepKey, Login, Refused, Visit
from ginnel.core.node.mesh import Mesh
from ginnel.core.node.netmap import BadMap, MapChange, NetMap, apply_frame, expire_keys, first_frame, next_expiry
from ginnel.core.node.portmap.actions import PortMapped
from ginnel.core.node.routing import MARK, Routing, concerns_routing, routing_of
from ginnel.shell.node.contained import start
from ginnel.shell.node.control_client import ControlClient
from ginnel.shell.node.engine import Engine, PumpLike, StartError
from ginnel.shell.node.home_router import HomeRouter
from ginnel.shell.node.host_network import HostNetwork
from ginnel.shell.node.hostinfo import hostinfo
from ginnel.shell.node.keeper import Keeper
from ginnel.shell.node.local_api import Start
from ginnel.shell.node.local_http import Refusal
from ginnel.shell.node.log_upload import LogUpload
from ginnel.shell.node.metered import is_metered
from ginnel.shell.node.router import Router
from ginnel.shell.node.sleeps import sleeps
from ginnel.shell.node.state import Prefs, State, StateFile, server_pins
from ginnel.wire.read import Malformed
from ginnel.wire.tailcfg import NetInfo
from ginnel.words import DiscoPrivate, Instant, NodePrivate, WallTime

log = logging.getLogger(__name__)

LOGOUT_TIME = 10.0
WATCH_EVERY = 1.0


class MeshNode:
    """See the module's docstring; it is the local API's Backend. `open_pump` makes a pump with its TUN open."""

    def __init__(
        self,
        *,
        state: State,
        file: StateFile,
        tun: str,
        port: int,
        open_pump: Callable[[NodePrivate], PumpLike],
        router: Router | None = None,
        port_mapping: bool = True,
        logs: LogUpload | None = None,
    ) -> None:
        self._logs = logs
        if logs is not None:
            logs.pins = self._log_pins
        self._keeper = Keeper(state, file)
        self._port = port
        self._open_pump = open_pump
        self._host = HostNetwork(tun, router or Router(tun), self._notify)
        self.home_router = HomeRouter(tun, state, allowed=port_mapping, tell=self._take_port_mapped, spawn=self._spawn)
        self._disco = DiscoPrivate(os.urandom(32))
        self.netmap = NetMap()
        self.engine: Engine | None = None
        self._engine_key = state.node or NodePrivate(os.urandom(32))
        self.client: ControlClient | None = None
        self._control: asyncio.Task[None] | None = None
        self._net_info: NetInfo | None = None
        self._report: ReportToControl | None = None
        self.expired = False
        self._broken = ""
        self._in_poll = False
        self.watchers: set[asyncio.Event] = set()
        self._expiry_timer: asyncio.TimerHandle | None = None
        self._tasks: asyncio.TaskGroup | None = None

    @property
    def state(self) -> State:
        return self._keeper.state

    # --- life --------------------------------------------------------------------------------------------------

    def open(self) -> None:
        """Open the TUN device and the sockets, or raise before anything else was touched."""
        pump = self._open_pump(self._engine_key)
        self.engine = self._engine_around(pump)

    async def run(self) -> None:
        """Serve until cancelled; then nothing of ours is left in the kernel. Raises BindError."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                self._host.read()
                self.home_router.read()
                self._route()
                self._start_engine()
                tasks.create_task(self._watch_links())
                tasks.create_task(self._watch_sleeps())
                if self.state.prefs.want_running and self.state.node is not None:
                    self._start_control(lambda session: session.start())
        finally:
            self._tasks = None
            await self.home_router.mapping.close()
            self.close()
            self._host.close()

    def close(self) -> None:
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        if self.engine is not None:
            self.engine.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None] | None:
        if self._tasks is None:
            work.close()
            return None
        return start(self._tasks, work)

    # --- the engine --------------------------------------------------------------------------------------------

    def _engine_around(self, pump: PumpLike) -> Engine:
        mesh = Mesh(self._disco, os.urandom)
        return Engine(pump, mesh, spawn=self._spawn, report=self._take_report, changed=self._notify)

    def _start_engine(self) -> None:
        engine = self.engine
        assert engine is not None
        engine.start(self._port)
        self._tell_policies()
        engine.input(lambda mesh, now: mesh.set_node_key(self._engine_key, now))
        self._tell_links(engine)
        engine.input(lambda mesh, now: mesh.port_mapped(self.home_router.mapping.news, now))

    def _tell_policies(self) -> None:
        policies = self.state.prefs.paths()
        if self.engine is not None:
            self.engine.input(lambda mesh, now: mesh.path_policies_changed(policies, now))

    def _renew_engine(self, key: NodePrivate) -> None:
        """Another key, or a clean slate: a pump keeps its key for life."""
        if self.engine is not None:
            self.engine.close()
        self.engine = None
        self._engine_key = key
        self._in_poll = False
        self._report = None
        try:
            self.engine = self._engine_around(self._open_pump(key))
            self._start_engine()
            self._broken = ""
        except StartError as error:
            log.error("%s", error)
            self._broken = f"{error}; then restart ginneld"
        self._route()

    def _feed(self, change: MapChange) -> None:
        netmap, engine = self.netmap, self.engine
        if engine is not None and not self.expired:
            engine.input(lambda mesh, now: mesh.map_changed(netmap, change, now))

    # --- the control client ------------------------------------------------------------------------------------

    def _start_control(self, begin: Callable[[ControlSession], list[ControlAction]]) -> None:
        prefs = self.state.prefs
        plain = prefs.control_url.startswith("http://")
        login = Login(
            self.state.node, hostinfo=self._hostinfo(), draw=self._draw_key, jitter=random.random, plain=plain
        )
        session = ControlSession(login, disco=self._disco.public(), jitter=random.random, plain=plain)
        if self._report is not None:
            session.report = self._report_now()
        self.client = ControlClient(
            session,
            url=prefs.control_url,
            machine=self.state.machine,
            pinned=prefs.pinned_key(),
            mark=MARK,
            tell=self._take_control,
            changed=self._control_moved,
        )
        self._control = self._spawn(self.client.run(begin))

    def _stop_control(self) -> None:
        if self.client is not None:
            self.client.stop()
        if self._control is not None:
            self._control.cancel()
        self._control = self.client = None
        self._control_moved()

    def _draw_key(self) -> bytes:
        """The first login uses the key that the engine was opened with."""
        return self._engine_key.raw if self.state.node is None else os.urandom(32)

    def _take_control(self, action: ControlAction) -> None:
        match action:
            case Merge(frame, first):
                self._merge(frame, first=first)
            case KeepKey(key, login_name):
                self._keep_key(key, login_name)
            case KeyExpired(expired):
                self._key_expired(expired=expired)
            case Visit(_):
                log.info("login waits for a visit; `ginnel status` shows the address")

    def _keep_key(self, key: NodePrivate | None, login_name: str) -> None:
        if key is None:
            self._keeper.logged_out()
            self._rest(NodePrivate(os.urandom(32)))
            return
        self._keeper.logged_in(key, login_name)
        if key != self._engine_key or self.expired:  # the engine knows nothing: the next map must be news to it
            self.netmap = NetMap()
        self.expired = False
        if key != self._engine_key:
            self._renew_engine(key)

    def _key_expired(self, *, expired: bool) -> None:
        self.expired = expired
        self._renew_engine(self._engine_key)
        if not expired:
            self._feed(everything(self.netmap))

    def _merge(self, frame: Any, *, first: bool) -> None:
        wall = WallTime(time.time())
        if self._logs is not None and frame.debug is not None and frame.debug.disable_log_tail:
            self._logs.disable()
        try:
            merged, change = (first_frame if first else apply_frame)(self.netmap, frame, wall)
        except BadMap as error:
            raise Malformed(str(error)) from None
        self._take_map(merged, change)

    def _take_map(self, netmap: NetMap, change: MapChange) -> None:
        """Routes first: who sees a peer may send to it, and that must not go out by another interface."""
        self.netmap = netmap
        if concerns_routing(change):
            self._route()
        self._feed(change)
        self._wake_for_expiry()

    def _wake_for_expiry(self) -> None:
        if self._expiry_timer is not None:
            self._expiry_timer.cancel()
        at = next_expiry(self.netmap)
        if at is not None:
            wait = max(0.0, min(at - time.time(), 3600.0)) + 0.1
            self._expiry_timer = asyncio.get_running_loop().call_later(wait, self._expire_peers)

    def _expire_peers(self) -> None:
        self._take_map(*expire_keys(self.netmap, WallTime(time.time())))

    def _control_moved(self) -> None:
        in_poll = self.client is not None and self.client.session.in_map_poll
        if in_poll != self._in_poll and self.engine is not None:
            self._in_poll = in_poll
            self.engine.input(lambda mesh, now: mesh.control_changed(in_poll, now))
        self._notify()

    # --- reports -----------------------------------------------------------------------------------------------

    def _take_report(self, report: ReportToControl) -> None:
        self._report = report
        self._tell_server()

    def _tell_server(self) -> None:
        if self.client is not None:
            self.client.report(self._report_now())

    def _report_now(self) -> Report:
        known = self._report
        if known is None:
            return Report(self._hostinfo())
        return Report(
            self._hostinfo(), tuple(str(endpoint) for endpoint in known.endpoints), tuple(int(t) for t in known.types)
        )

    def _hostinfo(self) -> dict[str, Any]:
        members = hostinfo(self.state.prefs, self._report.net_info if self._report is not None else None)
        return members | self._logs.hostinfo() if self._logs is not None else members

    def _log_pins(self) -> frozenset[str]:
        return server_pins(self.state.prefs, self.netmap.derp_map)

    # --- this machine ------------------------------------------------------------------------------------------

    def _route(self) -> None:
        prefs = self.state.prefs
        if not prefs.want_running or self.state.node is None:
            self._host.route(Routing())
        elif self.netmap.self_node is None:
            self._host.route(None)
        else:
            self._host.route(routing_of(self.netmap, accept_routes=prefs.accept_routes, expired=self.expired))

    async def _watch_links(self) -> None:
        async for major in self._host.moves():
            self._moved(major=major)

    async def _watch_sleeps(self) -> None:
        async for seconds in sleeps():
            log.info("this machine slept for %.0f s", seconds)
            self._moved(major=True)

    def _moved(self, *, major: bool) -> None:
        if self.engine is not None:
            self._tell_links(self.engine)
            self.engine.input(lambda mesh, now: mesh.link_changed(major, now))
        if major and self.client is not None:
            self.client.link_changed({str(local.address.ip) for local in self._host.links.addresses})
        moved = self.home_router.read()
        self._follow_router()
        if major and not moved:
            self.home_router.mapping.look()

    def _tell_links(self, engine: Engine) -> None:
        links = self._host.links
        engine.mesh.metered_changed(is_metered(name for name, _ in links.defaults))
        engine.input(lambda mesh, now: mesh.interfaces_changed(links.addresses, now))

    def _follow_router(self) -> None:
        if self._tasks is not None and self.engine is not None:
            self.home_router.follow(self.state, self.engine, self.netmap)

    def _take_port_mapped(self, news: PortMapped) -> None:
        if self.engine is not None:
            self.engine.input(lambda mesh, now: mesh.port_mapped(news, now))

    # --- what the user asks ------------------------------------------------------------------------------------

    def _rest(self, key: NodePrivate) -> None:
        """Not on the mesh: no server, no peers, no routes."""
        self._stop_control()
        self.netmap = NetMap()
        self.expired = False
        self._renew_engine(key)
        self._notify()

    def set_prefs(self, prefs: Prefs) -> None:
        before = self.state.prefs
        if prefs == before:
            return
        self._keeper.set_prefs(prefs)
        self._tell_policies()
        if not prefs.want_running:
            self._rest(self._engine_key)
        elif self.client is None or prefs.control_url != before.control_url:
            self._stop_control()
            self._start_control(lambda session: session.start())
        else:
            self._tell_server()
        self._route()

    def start(self, request: Start) -> None:
        before = self.state.prefs
        prefs = request.update_prefs or before
        if not prefs.control_url:
            raise Refusal(400, "no coordination server is named: give --login-server or --invite")
        self._keeper.set_prefs(msgspec.structs.replace(prefs, want_running=True, logged_out=False))
        self._tell_policies()
        same_server = (prefs.control_url, prefs.server_key) == (before.control_url, before.server_key)
        client = self.client
        fresh, auth_key = request.force_reauth, request.auth_key

        def begin(session: ControlSession) -> list[ControlAction]:
            return session.start(auth_key=auth_key, fresh=fresh)

        if client is None or not same_server or isinstance(client.session.login.state, Refused):
            self._stop_control()
            self._start_control(begin)
        elif self.state_name() != "Running" or fresh:
            client.input(begin)
        self._tell_server()
        self._route()

    def login_interactive(self) -> None:
        if self.client is None:
            raise Refusal(409, "the node is stopped: run `ginnel up`")
        self.client.input(lambda session: session.start(fresh=True))

    async def logout(self) -> None:
        if self.state.node is None:
            self._keeper.never_logged_in()
            self._rest(self._engine_key)
            return
        if self.client is None:
            self._start_control(lambda _: [])
            await asyncio.sleep(0)  # the client's task begins
        client = self.client
        assert client is not None
        try:
            async with asyncio.timeout(LOGOUT_TIME):
                await client.leave(lambda session: session.logout())
        except TimeoutError:
            raise Refusal(504, "the server does not answer; this machine is still logged in, try again") from None
        if not isinstance(client.session.login.state, Idle):
            why = client.session.login.problem
            raise Refusal(502, f"this machine is still logged in: {why or 'the server did not confirm'}")

    def state_name(self) -> str:
        """Tailscale's states (tailscale: ipn/backend.go)."""
        client = self.client
        if not self.state.prefs.want_running or client is None:
            return "Stopped" if self.state.node is not None else "NeedsLogin"
        login = client.session.login
        if self.expired or login.visit or isinstance(login.state, Refused) or self.state.node is None:
            return "NeedsLogin"
        if self.netmap.self_node is None:
            return "Starting"
        if not self.netmap.self_node.machine_authorized:
            return "NeedsMachineAuth"
        ready = self.engine is not None and self.engine.home and self._host.routed.addresses
        return "Running" if ready else "Starting"

    def health(self) -> list[str]:
        lines = list(self.engine.health.values()) if self.engine is not None else []
        lines += self._host.problems
        if self.expired:
            lines.append("this machine's key has expired: run `ginnel up --force-reauth`")
        if self.client is not None and self.client.session.problem:
            lines.append(f"no connection to {self.state.prefs.control_url}: {self.client.session.problem}")
        lines += [line for line in (self._broken, self._keeper.unsaved) if line]
        return lines + list(self.netmap.health)

    def _notify(self) -> None:
        self._follow_router()
        for moved in self.watchers:
            moved.set()


def everything(netmap: NetMap) -> MapChange:
    """The change from nothing to this map."""
    return MapChange(
        added=tuple(netmap.peers.values()),
        self_node=True, filters=True, dns=True, derp_map=True, users=True, health=True, domain=True,
    )  # fmt: skip


__all__ = ["Instant", "MeshNode", "everything"]
