"""`ginnel firewall verify`: each rule tried for real from this host.

Room: cli. Exit status 0 only where all that is mandatory passes.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.firewall_options import Asking, asks_for_mesh
from ginnel.cli.local import ApiError, Local, fail, local

if TYPE_CHECKING:
    from ginnel.core.firewall.tried import Asked
    from ginnel.shell.firewall.tunnel import TunnelSeen

NETCHECK_TIME = 12.0


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Instead of text.")
@click.option("--region", metavar="REGION", default="", help="The relays of this region alone: its number or code.")
@asks_for_mesh
def verify(*, asking: Asking, as_json: bool, region: str) -> None:
    """Try each rule for real from this host, and say what stands in the way."""
    import asyncio
    from dataclasses import replace

    from ginnel.core.firewall.report_json import report_json
    from ginnel.core.firewall.report_text import report_lines
    from ginnel.shell.firewall.verify import verify as tried

    api = local(asking.socket)
    asked = _asked(asking, api)
    if region:
        asked = replace(asked, regions=(_number(asked, region),))
    progress = Progress(sys.stderr.isatty())
    try:
        report = asyncio.run(tried(asked, tunnel=_tunnel(asking, api), told=progress.told))
    finally:
        progress.end()
    if as_json:
        print(json.dumps(report_json(report), indent=2))
    else:
        for line in report_lines(report):
            print(line)
    sys.stdout.flush()
    sys.exit(0 if report.passed else 1)


def _asked(asking: Asking, api: Local) -> Asked:
    import asyncio

    from ginnel.shell.firewall.asked import gather
    from ginnel.shell.firewall.facts import FactsError

    if asking.wish.needs_daemon and not api.listens():
        fail(
            "ginneld is not running here: start it with `sudo ginneld`, or name a mesh with --server URL or "
            "--derp-map FILE"
        )
    try:
        return asyncio.run(gather(asking.wish, api.get))
    except (FactsError, ApiError) as error:
        fail(str(error))


def _number(asked: Asked, region: str) -> int:
    regions = [one for one in (asked.derp_map.regions or {}).values() if one is not None]
    found = [one.region_id for one in regions if region in (str(one.region_id), one.region_code)]
    if not found:
        known = ", ".join(f"{one.region_id} ({one.region_code})" for one in regions[:30])
        fail(f"the DERP map has no region {region!r}; it has {known or 'none'}")
    return found[0]


def _tunnel(asking: Asking, api: Local) -> Callable[[Asked], Any] | None:
    """By the daemon where it is asked for its own mesh, or turns out to hold the port. None: by a socket of our own."""
    if asking.wish.port is not None:
        return None

    from ginnel.shell.firewall.tunnel import by_own_socket

    async def own_mesh(asked: Asked) -> TunnelSeen:
        return await _by_daemon(api, asked) or await by_own_socket(asked)

    async def other_mesh(asked: Asked) -> TunnelSeen:
        seen = await by_own_socket(asked)
        return (await _by_daemon(api, asked) or seen) if seen.taken and _holds(api, asked.port) else seen

    return own_mesh if asking.wish.needs_daemon else other_mesh


async def _by_daemon(api: Local, asked: Asked) -> TunnelSeen | None:
    """None where it does not answer."""
    import asyncio

    from ginnel.shell.firewall.tunnel import by_daemon

    try:
        answer = await asyncio.to_thread(api.ask, "POST", "netcheck?verbose=true", None, NETCHECK_TIME)
    except (ApiError, TimeoutError):
        return None
    report = answer.get("Report") if isinstance(answer, dict) else None
    return by_daemon(report if isinstance(report, dict) else {}, asked)


def _holds(api: Local, port: int | None) -> bool:
    """Whether it is this machine's daemon that has the port."""
    from ginnel.shell.firewall.facts import own_port

    try:
        return api.listens() and own_port(api.get("debug-inside") or {})[0] == port
    except ApiError:
        return False


class Progress:
    """One line that is written over, on a terminal alone."""

    def __init__(self, on: bool) -> None:
        self._on = on
        self._shown = ""

    def told(self, done: int, every: int) -> None:
        if not self._on:
            return
        columns = shutil.get_terminal_size((80, 24)).columns
        width = max(10, min(40, columns - 30))
        bar = "#" * (width * done // max(1, every))
        self._shown = f"\r[{bar:<{width}}] {done} of {every} tried"
        sys.stderr.write(self._shown[: columns - 1])
        sys.stderr.flush()

    def end(self) -> None:
        if self._shown:
            sys.stderr.write("\r" + " " * (len(self._shown) - 1) + "\r")
            sys.stderr.flush()
