"""`ginnel relay run --join TOKEN`: a relay of a server's fleet.

Room: cli.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from ginnel.wire.read import WireError
from ginnel.wire.relay_token import parse_relay_token

if TYPE_CHECKING:
    from ginnel.shell.fleet_agent import AgentSettings
    from ginnel.shell.relay import EmbeddedRelay
    from ginnel.wire.relaycontrol import RelayWelcome


def settings_for(state: Path, join: str | None) -> AgentSettings | None:
    """None: a relay alone. A token of the fleet that the relay belongs to already is not needed any more. Raises
    RelayError."""
    from ginnel.shell.fleet_agent import AgentSettings
    from ginnel.shell.fleet_state import Home, machine_key, read_home
    from ginnel.shell.relay import RelayError

    home = read_home(state)
    if join is None:
        return AgentSettings(state, home, machine_key(state)) if home is not None else None
    try:
        token = parse_relay_token(join)
    except WireError as error:
        raise RelayError(f"{error}; make one on the server with `ginnel relay token create`") from None
    wanted = Home(token.url, token.server_key)
    if home == wanted:
        return AgentSettings(state, home, machine_key(state), token.secret)
    if home is not None:
        raise RelayError(f"this relay belongs to {home.url} already: choose another --state directory")
    if token.expires <= time.time():
        raise RelayError("the token has expired: make another on the server with `ginnel relay token create`")
    return AgentSettings(state, wanted, machine_key(state), token.secret)


async def keep_joined(running: EmbeddedRelay, settings: AgentSettings) -> None:
    """Serve until told to stop. Raises RelayError."""
    from ginnel.shell.fleet_agent import FleetAgent, NotOfTheFleet
    from ginnel.shell.fleet_state import write_home
    from ginnel.shell.relay import RelayError

    def joined(welcome: RelayWelcome) -> None:
        write_home(settings.state, settings.home)
        place = f"region {welcome.region}" + (f" ({welcome.region_code})" if welcome.region_code else "")
        _say(f"This is {welcome.name} of {settings.home.url}, {place}.")

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    agent = asyncio.create_task(FleetAgent(running, settings, _say, joined).run())
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({agent, stopping}, return_when=asyncio.FIRST_COMPLETED)
    for task in (agent, stopping):
        task.cancel()
    (ended, _) = await asyncio.gather(agent, stopping, return_exceptions=True)
    if isinstance(ended, NotOfTheFleet):
        raise RelayError(str(ended))
    if isinstance(ended, Exception):
        raise ended


def _say(line: str) -> None:
    print(f"ginnel relay: {line}", file=sys.stderr, flush=True)
