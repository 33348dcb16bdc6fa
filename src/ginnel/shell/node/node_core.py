"""What runs for one mesh member: the login, the map, the engine and the routes, held together.

Room: shell. Decisions about the protocols are in the cores; here is the order of things: a new node key means a new
engine, a map means routes, `down` means that nothing of ours is left in the kernel. What the user asks is in node.py.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Callable, Coroutine
from typing import Any

from ginnel.core.firewall.told import RANDOMIZE
from ginnel.core.node.actions import ReportToControl
from ginnel.core.node.control_actions import ControlAction, KeyExpired, Merge, Report
from ginnel.core.node.control_session import ControlSession
from ginnel.core.node.login import KeepKey, Login, Visit
from ginnel.core.node.mesh import Mesh
from ginnel.core.node.netmap import MapChange, NetMap
from ginnel.core.node.portmap.actions import PortMapped
from ginnel.core.node.routing import MARK, Routing, concerns_routing, routing_of
from ginnel.shell.node.contained import start
from ginnel.shell.node.control_client import ControlClient
from ginnel.shell.node.engine import Engine, PumpLike, StartError
from ginnel.shell.node.held_map import HeldMap, everything
from ginnel.shell.node.home_router import HomeRouter
from ginnel.shell.node.host_firewall import HostFirewall
from ginnel.shell.node.host_network import HostNetwork
from ginnel.shell.node.hostinfo import own_report
from ginnel.shell.node.keeper import Keeper
from ginnel.shell.node.links import Links
from ginnel.shell.node.log_upload import LogUpload
from ginnel.shell.node.metered import is_metered
from ginnel.shell.node.peer_api import PeerApi
from ginnel.shell.node.router import Router
from ginnel.shell.node.sleeps import sleeps
from ginnel.shell.node.state import State, StateFile, server_pins
from ginnel.words import DiscoPrivate, NodeKey, NodePrivate

log = logging.getLogger(__name__)


class NodeCore:
    """`open_pump` makes a pump with its TUN open."""

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
        self.tun = tun
        self._host = HostNetwork(tun, router or Router(tun), self._notify)
        self.home_router = HomeRouter(tun, state, allowed=port_mapping, tell=self._take_port_mapped, spawn=self._spawn)
        self._disco = DiscoPrivate(os.urandom(32))
        self._map = HeldMap(self._take_map)
        self.engine: Engine | None = None
        self._engine_key = state.node or NodePrivate(os.urandom(32))
        self.client: ControlClient | None = None
        self._control: asyncio.Task[None] | None = None
        self._report: ReportToControl | None = None
        self.expired = False
        self._broken = ""
        self.firewall = HostFirewall(lambda: self.engine, self._host, self._notify)
        self._in_poll = False
        self.watchers: set[asyncio.Event] = set()
        self._tasks: asyncio.TaskGroup | None = None
        self.peer_api: PeerApi | None = None
        """Set before `run`, where peers may ask this node something."""

    @property
    def state(self) -> State:
        return self._keeper.state

    @property
    def links(self) -> Links:
        """This machine's addresses and default routes."""
        return self._host.links

    @property
    def netmap(self) -> NetMap:
        return self._map.netmap

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
                if self.peer_api is not None:
                    start(tasks, self.peer_api.run())
                start(tasks, self.firewall.watch())
                if self.state.prefs.want_running and self.state.node is not None:
                    self._start_control(lambda session: session.start())
        finally:
            self._tasks = None
            await self.home_router.mapping.close()
            self.close()
            self._host.close()

    def close(self) -> None:
        self._map.close()
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
        return Engine(
            pump, mesh, spawn=self._spawn, report=self._take_report, changed=self._notify, call=self._call_by_server
        )

    def _start_engine(self) -> None:
        engine = self.engine
        assert engine is not None
        engine.start(self._wanted_port())
        self._tell_policies()
        engine.input(lambda mesh, now: mesh.set_node_key(self._engine_key, now))
        self._tell_links(engine)
        engine.input(lambda mesh, now: mesh.port_mapped(self.home_router.mapping.news, now))

    def _wanted_port(self) -> int:
        """The policy's randomizeClientPort is above the user's --port (tailscale: wgengine/userspace.go)."""
        node = self.netmap.self_node
        return 0 if node is not None and RANDOMIZE in (node.cap_map or {}) else self._port

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
        report = self._report_now()
        login = Login(
            self.state.node, hostinfo=dict(report.hostinfo), draw=self._draw_key, jitter=random.random, plain=plain
        )
        session = ControlSession(login, disco=self._disco.public(), jitter=random.random, plain=plain)
        session.report = report
        self.client = ControlClient(
            session,
            url=prefs.control_url,
            machine=self.state.machine,
            pinned=prefs.pinned_key(),
            mark=MARK,
            tell=self._take_control,
            changed=self._control_moved,
        )
        if self.peer_api is not None:
            self.client.testify = self._testify_to_server
        self._control = self._spawn(self.client.run(begin))

    def _call_by_server(self, peer: NodeKey) -> None:
        client, own = self.client, self.state.node
        if client is not None and own is not None:
            self._spawn(client.call(own.public(), peer))

    async def _testify_to_server(self, asker: NodeKey, regions: tuple[int, ...]) -> bytes | None:
        """Who asks by way of the server has no other: we look for it as well, and its pings may get through then."""
        if self.engine is not None:
            self.engine.input(lambda mesh, now: mesh.called_by_server(asker, now))
        return await self.peer_api.testify(asker, regions) if self.peer_api is not None else None

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
                if self._logs is not None and frame.debug is not None and frame.debug.disable_log_tail:
                    self._logs.disable()
                self._map.merge(frame, first=first)
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
            self._map.drop()
        self.expired = False
        if key != self._engine_key:
            self._renew_engine(key)

    def _key_expired(self, *, expired: bool) -> None:
        self.expired = expired
        self._renew_engine(self._engine_key)
        if not expired:
            self._feed(everything(self.netmap))

    def _take_map(self, change: MapChange) -> None:
        """Routes first: who sees a peer may send to it, and that must not go out by another interface."""
        if concerns_routing(change):
            self._route()
        if change.self_node and self.engine is not None:
            self.engine.prefer_port(self._wanted_port())
        self._feed(change)

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

    def tell_server(self) -> None:
        """Something that is advertised may be another now."""
        self._tell_server()

    def _tell_server(self) -> None:
        if self.client is not None:
            self.client.report(self._report_now())

    def _report_now(self) -> Report:
        more = self._logs.hostinfo() if self._logs is not None else {}
        if self.peer_api is not None:
            more = more | self.peer_api.hostinfo()
        return own_report(self.state.prefs, self._report, more)

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

    def _rest(self, key: NodePrivate) -> None:
        """Not on the mesh: no server, no peers, no routes."""
        self._stop_control()
        self._map.drop()
        self.expired = False
        self._renew_engine(key)
        self._notify()

    def _notify(self) -> None:
        self._follow_router()
        if self.peer_api is not None:
            self.peer_api.follow(self.engine, self._host.routed.addresses)
        for moved in self.watchers:
            moved.set()
