"""The coordination server as one process: its state, its listeners, its relay.

Room: shell.
"""

from __future__ import annotations

import asyncio
import dataclasses
import os
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from uvicorn.server import ServerState

from ginnel.core.control.derp_views import DerpViews, Edits
from ginnel.shell.control.admin import Admin, AdminProtocol, CreateKey, Joining, make_admin_app
from ginnel.shell.control.admin_relays import Asked, RelayAdmin
from ginnel.shell.control.allowlist import Allowlist
from ginnel.shell.control.allowlist_start import start_allowlist
from ginnel.shell.control.beside import RelayBeside, StartError, StartRelay
from ginnel.shell.control.bootstrap import bootstrap_names
from ginnel.shell.control.config import ServerConfig, host_of, split_endpoint
from ginnel.shell.control.connection import ControlConnection
from ginnel.shell.control.coordinator import Coordinator
from ginnel.shell.control.coordinator_doors import Settings
from ginnel.shell.control.first_steps import first_user, login_server, use_policy_file
from ginnel.shell.control.fleet import RelayFleet
from ginnel.shell.control.fleet_door import FleetDoor
from ginnel.shell.control.fleet_extra import ExtraMaps
from ginnel.shell.control.fleet_facts import prober_of
from ginnel.shell.control.fleet_links import FleetMembers
from ginnel.shell.control.fleet_settings import fleet_settings
from ginnel.shell.control.front import Doorkeeper, FrontProtocol
from ginnel.shell.control.keys import StateError, load_or_make_feed_key, load_or_make_key, prepare_directory
from ginnel.shell.control.listen import take_lock, tcp_listener, unix_server, uvicorn_config
from ginnel.shell.control.logsink import LOG_PATHS, LogHost
from ginnel.shell.control.logsink_admin import log_verbs, start_log_host
from ginnel.shell.control.partitions import PartitionDesk
from ginnel.shell.control.place import ADMIN_SOCKET, ALLOWLIST_KEY, DATABASE, LOCK, LOGS, NOISE_KEY, SPLICE_SOCKET
from ginnel.shell.control.store import Store, StoreUnavailable
from ginnel.shell.control.strangers import Strangers
from ginnel.shell.control.surroundings import surroundings_of, told_of
from ginnel.shell.control.web import make_app
from ginnel.shell.relay_bootstrap import BootstrapDns
from ginnel.shell.relaydns.config import checked as checked_relay_dns
from ginnel.shell.relaydns.keyfile import RelayDnsError
from ginnel.shell.relaydns.service import RelayDns
from ginnel.wire.tailcfg import DERPMap
from ginnel.words import ChallengeKey, MachinePrivate

RELAY_TICK = 2.0


class ControlServer:
    """`async with ControlServer(config)`: it serves inside the block. `start_relay` is left out without a relay."""

    def __init__(self, config: ServerConfig, start_relay: StartRelay | None = None) -> None:
        self.config = config
        self._start_relay = start_relay
        self._state = Path(config.state)
        self._servers: list[asyncio.Server] = []
        self._relay: RelayBeside | None = None
        self._lock: int | None = None
        self._group = asyncio.TaskGroup()
        self._runners: list[asyncio.Task[None]] = []
        self._keeper: Doorkeeper | None = None
        self.strangers = Strangers(ControlConnection.let_go)
        self.coordinator: Coordinator
        self.admin: Admin
        self.fleet: RelayFleet
        self.extras: ExtraMaps
        self.allowlist: Allowlist
        self.partitions: PartitionDesk
        self.on_full_map: list[Callable[[DERPMap], None]] = []
        """Called with the full map, every node with all its addresses, at each change."""
        self._views = DerpViews(DERPMap(), Edits())
        self.log_host: LogHost | None = None
        self._store: Store | None = None
        self.relay_dns: RelayDns | None = None
        self._beside = AsyncExitStack()
        self.metrics_port = 0

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stop()

    async def _start(self) -> None:
        config = self.config
        await self._group.__aenter__()
        try:
            prepare_directory(self._state)
            self._lock = take_lock(self._state / LOCK)
            key = load_or_make_key(self._state / NOISE_KEY)
            self._feed_key = load_or_make_feed_key(self._state / ALLOWLIST_KEY)
            self._store = Store(self._state / DATABASE)
        except (StateError, StoreUnavailable) as error:
            raise StartError(str(error)) from None
        splice = self._state / SPLICE_SOCKET
        if self._start_relay is not None:
            self._relay = self._start_relay(config, self._state, splice)
        surroundings = surroundings_of(config, self._views, str(self._feed_key.public()))
        settings = Settings(config.url, surroundings, config.key_days * 86400 or None)
        prober = prober_of(key)
        members = FleetMembers(frozenset([prober.own.public()]), self._relay)
        self.coordinator = Coordinator(settings, self._store, members)
        self.extras = ExtraMaps(config.relays.extra, config.relays.refresh, self._state, self._extras_changed)
        self.fleet = RelayFleet(
            self.coordinator,
            fleet_settings(config, key.public(), self._relay),
            prober,
            members,
            self._relay,
            self._map_changed,
        )
        try:
            self.coordinator.load()
            self.extras.load()
            self.fleet.map.extras = self.extras.maps
            await self.fleet.load()
            self.coordinator.relays = FleetDoor(self.fleet, tuple(sorted(bootstrap_names(config).published)))
            self.log_host = start_log_host(config.log_host, self._state / LOGS, self.coordinator)
        except (StateError, StoreUnavailable) as error:
            raise StartError(str(error)) from None
        pin = self._relay.pin if self._relay is not None else None
        relays = RelayAdmin(self.fleet, self.extras, Asked(config.url, key.public(), pin))
        joining = Joining(config.url, key.public(), pin)
        self.admin = Admin(self.coordinator, joining, relays, lambda: self.relay_dns)
        await self._prepare()
        await self._listen(key, splice)
        parts = (self.coordinator, self.fleet, self.extras, self.partitions, self.relay_dns, self.log_host)
        for part in parts:
            if part is not None:
                self._runners.append(self._group.create_task(part.run()))
        if self._relay is not None:
            self._runners.append(self._group.create_task(self._keep_relay_fresh(self._relay)))
            telling = BootstrapDns(self._relay.set_bootstrap_dns, bootstrap_names(config))
            self._runners.append(self._group.create_task(telling.run()))
        await self._start_numbers()

    async def _prepare(self) -> None:
        """What has to be there before anybody is answered."""
        try:
            await first_user(self.coordinator)
            await self.load_policy_file()
            await self._start_relay_dns()
            self.allowlist = start_allowlist(
                self.config, self._state, self._feed_key, self.fleet, lambda: self.relay_dns
            )
        except (StateError, StoreUnavailable) as error:
            raise StartError(str(error)) from None
        self.partitions = PartitionDesk(self.coordinator, self.fleet, self.config.relays.rehome)
        self.partitions.start()
        self.on_full_map += [self.allowlist.map_changed, self.partitions.map_changed]

    @property
    def derp_map(self) -> DERPMap:
        """As who is nobody in particular sees it."""
        return self._views.default

    def _map_changed(self, full: DERPMap, views: DerpViews) -> None:
        self._views = views
        self.coordinator.surroundings_replaced(surroundings_of(self.config, views, str(self._feed_key.public())))
        for tell in self.on_full_map:
            tell(full)

    def _extras_changed(self) -> None:
        self.fleet.map.extras = self.extras.maps
        self.fleet.refresh()

    async def _keep_relay_fresh(self, relay: RelayBeside) -> None:
        """Its certificate may be renewed; then the pin in the DERP map changes, and every node is told."""
        while True:
            await asyncio.sleep(RELAY_TICK)
            self._look_at(relay)

    def _look_at(self, relay: RelayBeside, *, look: bool = False) -> None:
        if relay.tick(look=look):
            self.admin.joining = dataclasses.replace(self.admin.joining, pin=relay.pin)
            self.admin.relays.joining = dataclasses.replace(self.admin.relays.joining, pin=relay.pin)
            self.fleet.own_changed(fleet_settings(self.config, self.fleet.map.settings.machine, relay))

    def look_again(self) -> None:
        """At the relay's files, because somebody says that they have changed."""
        if self._relay is not None:
            self._look_at(self._relay, look=True)

    async def _start_numbers(self) -> None:
        if not self.config.metrics:
            return
        from ginnel.shell.control.numbers import ServerNumbers, serving  # noqa: PLC0415  (only where they are asked for)

        host, port = split_endpoint(self.config.metrics)
        more = (self.allowlist, self.partitions)
        numbers = ServerNumbers(self.coordinator, self.fleet, lambda: self.relay_dns, self.log_host, more)
        try:
            self.metrics_port = await self._beside.enter_async_context(serving(numbers, self._relay, host, port))
        except OSError as error:
            why = f"cannot listen on {self.config.metrics} for metrics: {error.strerror}; choose another"
            raise StartError(why) from None

    async def _start_relay_dns(self) -> None:
        config = self.config
        if not config.relay_dns.zone:
            return
        try:
            settings = checked_relay_dns(config.relay_dns, host_of(config.url), config.relay.addresses)
            started = RelayDns(settings, self._state, lambda: self.fleet.map.full)
            await started.start()
        except RelayDnsError as error:
            raise StartError(str(error)) from None
        self.relay_dns = started
        self.on_full_map.append(started.changed)

    async def load_policy_file(self) -> bool:
        """Read the configured policy file. A bad one keeps the policy in force (C10); True when it is the file's."""
        return await use_policy_file(self.coordinator, self.config.policy)

    async def new_invite(self) -> str:
        """A one-shot invite for the first user, good for an hour."""
        users = self.coordinator.registry.users
        name = min(users.values(), key=lambda user: user.id).name
        created = await self.admin.invites_create(CreateKey(user=name), "server")
        return str(created["invite"])

    def login_server(self) -> str:
        return login_server(self.config.url, self.admin.joining.pin)

    # --- listening -------------------------------------------------------------------------------------------

    async def _listen(self, key: MachinePrivate, splice: Path) -> None:
        challenge = ChallengeKey(MachinePrivate(os.urandom(32)).public().raw)

        strangers = self.strangers

        def channel(source: str, closed: Callable[[], None]) -> ControlConnection:
            return ControlConnection(
                self.coordinator,
                key,
                challenge,
                source=source,
                strangers=strangers,
                spawn=self._group.create_task,
                closed=closed,
            )

        logs = [self.log_host.route()] if self.log_host is not None else []
        more, told = [self.allowlist.route(), *logs], told_of(self.config)
        app = make_app(key.public(), lambda: self.derp_map, self.coordinator.admits, more, told)
        keeper = self._keeper = Doorkeeper(channel, uvicorn_config(app), kept=(LOG_PATHS,) if logs else ())
        keeper.state.default_headers = [(b"connection", b"close")]
        loop = asyncio.get_running_loop()
        for endpoint in self.config.listen_plain:
            listener = tcp_listener(endpoint)
            self._servers.append(await loop.create_server(lambda: FrontProtocol(keeper), sock=listener, backlog=1024))
        if self._start_relay is not None:
            self._servers.append(await unix_server(splice, lambda: FrontProtocol(keeper, spliced=True)))
        admin_config = uvicorn_config(
            make_admin_app(
                self.admin, {**log_verbs(self.log_host), **self.allowlist.verbs(), **self.partitions.verbs()}
            )
        )
        state = ServerState()
        admin = await unix_server(self._state / ADMIN_SOCKET, lambda: AdminProtocol(admin_config, state, {}))
        self._servers.append(admin)

    def plain_ports(self) -> list[int]:
        """Ports of `listen_plain`, for who asked for port 0."""
        found = [s.getsockname() for server in self._servers for s in server.sockets if s.family != socket.AF_UNIX]
        return [name[1] for name in found]

    # --- stopping --------------------------------------------------------------------------------------------

    async def _stop(self) -> None:
        if self._relay is not None:
            await self._relay.retire()
        for server in self._servers:
            server.close()
        if self.relay_dns is not None:
            await self.relay_dns.close()
        if self._keeper is not None:
            for transport in list(self._keeper.transports):
                transport.abort()
        for runner in self._runners:
            runner.cancel()
        await self._group.__aexit__(None, None, None)
        if self.log_host is not None:
            self.log_host.close()
        await self._beside.aclose()
        if self._store is not None:
            self._store.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
