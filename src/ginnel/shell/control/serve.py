"""The server until it is told to stop: signals, and words with systemd.

Room: shell.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

from ginnel.shell.control.beside import StartRelay
from ginnel.shell.control.config import ServerConfig
from ginnel.shell.control.run import ControlServer
from ginnel.shell.descriptors import allow_descriptors
from ginnel.shell.systemd import notify


async def serve(
    config: ServerConfig, start_relay: StartRelay | None, ready: Callable[[ControlServer], Awaitable[None]]
) -> None:
    """Run until SIGTERM or SIGINT; SIGHUP reads policy file and certificate again. Raises StartError."""
    allow_descriptors()
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    reload = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    async with ControlServer(config, start_relay) as server:
        await ready(server)
        notify("READY=1")
        reloading = asyncio.create_task(_reload(server, reload))
        await stop.wait()
        notify("STOPPING=1")
        reloading.cancel()


async def _reload(server: ControlServer, asked: asyncio.Event) -> None:
    while True:
        await asked.wait()
        asked.clear()
        server.look_again()
        await server.load_policy_file()
