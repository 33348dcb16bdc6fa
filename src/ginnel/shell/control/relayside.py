"""The relay beside the server: starts it, and says how clients reach it.

Room: shell.
"""

from __future__ import annotations

from pathlib import Path

from ginnel.shell.control.config import ServerConfig
from ginnel.shell.control.run import RunningRelay, StartError


async def start_relay(config: ServerConfig, state: Path, splice: Path) -> RunningRelay:  # noqa: ARG001
    raise StartError("this build has no relay; add --no-relay")
