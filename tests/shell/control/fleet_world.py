"""A server and relays of its fleet in one process, on loopback: real sockets, real control channels."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ginnel.shell.control.config import read_config
from ginnel.shell.control.relay_arguments import CreateToken
from ginnel.shell.control.relayside import start_relay
from ginnel.shell.control.run import ControlServer
from ginnel.shell.fleet_agent import AgentSettings, FleetAgent
from ginnel.shell.fleet_state import Home, machine_key
from ginnel.shell.relay import EmbeddedRelay
from ginnel.shell.relay_settings import RelaySettings
from ginnel.wire.relay_token import parse_relay_token
from ginnel.wire.tailcfg import DERPNode
from ginnel.words import WallTime
from tests.ports import free_port
from tests.shell.control.control_client import PATIENCE

QUICK = {"probe_interval": 1.0, "probe_failures": 2}


@asynccontextmanager
async def fleet_server(
    state: Path, *, port: int | None = None, relay: bool = True, **settings: Any
) -> AsyncIterator[ControlServer]:
    """Its control channel is plain HTTP on a port that stays the same over restarts, if one is given."""
    port = port or free_port()
    any_port = ("127.0.0.1:0",)
    listen = {"listen": any_port, "listen_http": any_port, "stun_listen": any_port}
    options = {"state": str(state), "url": f"http://127.0.0.1:{port}", "listen_plain": (f"127.0.0.1:{port}",)}
    config = read_config(None, {**listen, **options, "relays": QUICK, **settings})
    async with ControlServer(config, start_relay if relay else None) as server:
        yield server


async def token_for(server: ControlServer, region: int = 901, code: str = "fra", **options: Any) -> str:
    made = await server.admin.relays.token_create(CreateToken(region, code=code, **options), "test")
    return str(made["token"])


class JoinedRelay:
    """A relay's process, as far as it is one: the front door and the agent."""

    def __init__(self, state: Path, token: str, host: str = "127.0.0.1") -> None:
        self.state = state
        self.token = parse_relay_token(token)
        self.said: list[str] = []
        ports = ("127.0.0.1:0",)
        settings = RelaySettings(state=state, hostname=host, tls=ports, http=ports, stun=ports, threads=1)
        self.relay = EmbeddedRelay.start(settings, WallTime(time.time()))
        home = Home(self.token.url, self.token.server_key)
        agent = AgentSettings(state, home, machine_key(state), self.token.secret)
        self.agent = FleetAgent(self.relay, agent, self.said.append, lambda welcome: self.said.append(welcome.name))
        self.running = asyncio.create_task(self.agent.run())

    async def stop(self) -> None:
        """The agent leaves and the relay is gone."""
        self.running.cancel()
        with contextlib.suppress(asyncio.CancelledError, Exception):
            await self.running
        self.relay.close()

    @property
    def members(self) -> set[str]:
        return {str(key) for key in self.agent._orders.members}


@asynccontextmanager
async def joined(state: Path, token: str, host: str = "127.0.0.1") -> AsyncIterator[JoinedRelay]:
    relay = JoinedRelay(state, token, host)
    try:
        yield relay
    finally:
        await relay.stop()


async def eventually(true: Callable[[], Any], what: str = "it") -> None:
    """For what takes real time on real sockets. The pause is the loop's turn, not a guess of how long it takes."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not true():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"{what} did not happen within {PATIENCE} s") from None


def nodes_of(server: ControlServer, region: int) -> list[DERPNode]:
    found = (server.derp_map.regions or {}).get(region)
    return list(found.nodes or ()) if found is not None else []
