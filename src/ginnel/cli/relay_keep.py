"""A relay while it runs: its entry, its signals, what is served beside it, its end.

Room: cli.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from contextlib import AsyncExitStack, suppress
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import msgspec

from ginnel.words import BadKey, NodeKey, WallTime

if TYPE_CHECKING:
    from ginnel.cli.relay_options import Options
    from ginnel.core.relay.bootstrap import BootstrapNames
    from ginnel.shell.fleet_agent import AgentSettings, FleetAgent
    from ginnel.shell.relay import EmbeddedRelay
    from ginnel.shell.relay_settings import RelaySettings


def read_members(path: Path | None) -> list[NodeKey]:
    if path is None:
        return []
    try:
        lines = (line.split("#")[0].strip() for line in path.read_text().splitlines())
        return [NodeKey.parse(line) for line in lines if line]
    except OSError as error:
        fail(f"cannot read {path}: {error.strerror}; check its path and permissions")
    except (BadKey, UnicodeDecodeError):
        fail(f"{path}: expected one nodekey: and 64 hex digits in each line")


def fail(line: str) -> NoReturn:
    print(f"ginnel relay: {line}", file=sys.stderr)
    sys.exit(1)


def _announce(running: EmbeddedRelay, as_json: bool) -> None:
    region = running.region
    entry = msgspec.json.encode({str(region.region_id): region})
    print(msgspec.json.format(entry, indent=-1 if as_json else 2).decode(), flush=True)
    if as_json:
        return
    bound = running.native.addresses()
    wanted = [f"TCP {port}" for name in ("tls", "http") for _, port in bound[name]]
    wanted += [f"UDP {port}" for _, port in bound["stun"]]
    print(f"Relay {running.key.short()} is running. Put the entry under Regions of the DERP map.", file=sys.stderr)
    print(f"Open in the firewall, from anywhere: {', '.join(wanted)}.", file=sys.stderr)


def _reload(running: EmbeddedRelay, members: Path | None) -> None:
    """A list that can't be read changes nothing: an error must not become an empty list, nor end the relay."""
    try:
        running.set_members(read_members(members))
    except SystemExit:
        print("The members stay as they were.", file=sys.stderr)
    _look(running, at_once=True)


def _look(running: EmbeddedRelay, *, at_once: bool = False) -> None:
    from ginnel.shell.relay_settings import RelayError

    try:
        if running.tick(WallTime(time.time()), look=at_once):
            print("The certificate changed; the DERP map needs the new entry.", file=sys.stderr)
            _announce(running, as_json=True)
    except RelayError as error:
        print(f"ginnel relay: {error}", file=sys.stderr)


async def keep(
    running: EmbeddedRelay,
    settings: RelaySettings,
    options: Options,
    names: BootstrapNames,
    fleet: AgentSettings | None,
) -> None:
    """Serve until a signal, then end without losing who has just come. Raises RelayError."""
    from ginnel.cli.relay_join import joined
    from ginnel.shell.relay import TICK
    from ginnel.shell.relay_bootstrap import BootstrapDns
    from ginnel.shell.systemd import notify

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as beside:
        await _start_beside(beside, running, settings, options)
        bootstrap = BootstrapDns(running.set_bootstrap_dns, names)
        agent = None
        if fleet is None:
            _announce(running, options.as_json)
            loop.add_signal_handler(signal.SIGHUP, lambda: _reload(running, options.members))
        else:
            agent = await beside.enter_async_context(joined(running, fleet, bootstrap, stop))
            loop.add_signal_handler(signal.SIGHUP, agent.look)
        telling = asyncio.create_task(bootstrap.run())
        beside.callback(telling.cancel)
        notify("READY=1")
        while not stop.is_set():
            if agent is None:
                _look(running)
            with suppress(TimeoutError):
                async with asyncio.timeout(TICK):  # not wait_for: in Python 3.11 it may lose a cancellation
                    await stop.wait()
        notify("STOPPING=1")
        if agent is not None and options.leave_time(settings) > 0:
            await _leave(agent, options.leave_time(settings), stop)
        await running.retire()


async def _leave(agent: FleetAgent, patience: float, stop: asyncio.Event) -> None:
    """Another signal cuts it short."""
    stop.clear()
    tasks = [asyncio.create_task(agent.leave(patience)), asyncio.create_task(stop.wait())]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    for ended in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(ended, Exception):
            print(f"ginnel relay: {ended}", file=sys.stderr)


async def _start_beside(
    beside: AsyncExitStack, running: EmbeddedRelay, settings: RelaySettings, options: Options
) -> None:
    from ginnel.shell.relay_verify import Verifier

    verifier = Verifier(settings.verify, running.native) if settings.verify is not None else None
    if verifier is not None:
        await beside.enter_async_context(verifier)
    if options.metrics is not None:
        from ginnel.shell.relay_admin import AdminSide, serving

        side = AdminSide(running, verifier.numbers if verifier is not None else dict)
        host, wanted = _admin_address(options.metrics)
        port = await beside.enter_async_context(serving(side, host, wanted))
        at = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        print(f"Numbers are at http://{at}/metrics , and a page at /debug for this machine alone.", file=sys.stderr)


def _admin_address(text: str) -> tuple[str, int]:
    """A port alone is this machine's."""
    from ginnel.shell.relay_settings import RelayError

    host, _, port = text.rpartition(":")
    try:
        address = str(ip_address(host.strip("[]") or "127.0.0.1"))
    except ValueError:
        port = ""
    if not (port.isascii() and port.isdigit() and int(port) < 65536):
        raise RelayError(f"expected --metrics as PORT or IP:PORT, got {text!r}")
    return address, int(port)
