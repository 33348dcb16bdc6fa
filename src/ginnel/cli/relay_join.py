"""`ginnel relay run --join TOKEN`: a relay of a server's fleet.

Room: cli.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ginnel.wire.read import WireError
from ginnel.wire.relay_token import parse_relay_token

if TYPE_CHECKING:
    from ginnel.shell.fleet_agent import AgentSettings, FleetAgent
    from ginnel.shell.relay import EmbeddedRelay
    from ginnel.shell.relay_bootstrap import BootstrapDns
    from ginnel.wire.relaycontrol import RelayWelcome


def settings_for(state: Path, join: str | None) -> AgentSettings | None:
    """None: a relay alone. A token of the fleet that the relay belongs to already is not needed any more. Raises
    RelayError."""
    from ginnel.shell.fleet_agent import AgentSettings
    from ginnel.shell.fleet_state import Home, machine_key, read_home
    from ginnel.shell.relay_settings import RelayError

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


@asynccontextmanager
async def joined(
    running: EmbeddedRelay, settings: AgentSettings, bootstrap: BootstrapDns, stop: asyncio.Event
) -> AsyncIterator[FleetAgent]:
    """A relay of the fleet while the block lasts, which tells the server's names to clients whose DNS fails. `stop` is
    set if the server will not have it; then, at the block's end, it raises RelayError."""
    from ginnel.shell.fleet_agent import FleetAgent, NotOfTheFleet
    from ginnel.shell.fleet_state import write_home
    from ginnel.shell.relay_settings import RelayError

    def welcomed(welcome: RelayWelcome) -> None:
        write_home(settings.state, settings.home)
        bootstrap.publish(welcome.bootstrap_names or ())
        place = f"region {welcome.region}" + (f" ({welcome.region_code})" if welcome.region_code else "")
        _say(f"This is {welcome.name} of {settings.home.url}, {place}.")

    bootstrap.publish([urlsplit(settings.home.url).hostname or ""])
    agent = FleetAgent(running, settings, _say, welcomed)
    work = asyncio.create_task(agent.run())
    work.add_done_callback(lambda _: stop.set())
    try:
        yield agent
    finally:
        work.cancel()
        (ended,) = await asyncio.gather(work, return_exceptions=True)
    if isinstance(ended, NotOfTheFleet):
        raise RelayError(str(ended))
    if isinstance(ended, Exception):
        raise ended


def _say(line: str) -> None:
    print(f"ginnel relay: {line}", file=sys.stderr, flush=True)
