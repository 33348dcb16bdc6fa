"""`ginnel netcheck`: what this network lets through (tailscale: cmd/tailscale/cli/netcheck.go).

Room: cli. The daemon measures, from the tunnel's own socket; where there is none, or another map or socket is asked
for, this process does. Here the words are printed.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.local import ApiError, fail, local
from ginnel.cli.map_options import Named, named
from ginnel.cli.netcheck_control import control_found, control_line
from ginnel.cli.options import socket_option

if TYPE_CHECKING:
    from ginnel.wire.tailcfg import DERPMap

Tell = Callable[[dict[str, Any]], None]
NETCHECK_TIME = 30.0
EVERY_MIN = 0.1
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


@click.command()
@click.option("--format", "form", type=click.Choice(["", "json", "json-line"]), default="", help="Instead of text.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--every", metavar="TIME", default="", help="Again and again, shortly: 10s, 1m30s.")
@click.option("--verbose", is_flag=True, help="Wait for all regions, and say more.")
@click.option("--control", is_flag=True, help="Try the coordination server too.")
@click.option("--bind-address", metavar="IP", default="", help="Send from this address, not from the tunnel's socket.")
@click.option("--bind-port", metavar="PORT", type=click.IntRange(0, 65535), help="Send from this UDP port.")
@click.option("--derp-map", metavar="FILE|URL", default="", help="These relays, instead of the daemon's.")
@click.option(
    "--server", metavar="URL", default="", help="The relays of this coordination server; an invite does as well."
)
@click.option(
    "--pin", metavar="sha256-raw:HEX", default="", help="The one certificate that --server or the map's URL has."
)
@socket_option
def netcheck(  # noqa: PLR0917  (click calls it by keywords)
    form: str,
    as_json: bool,
    every: str,
    verbose: bool,
    control: bool,
    bind_address: str,
    bind_port: int | None,
    derp_map: str,
    server: str,
    pin: str,
    socket: str | None,
) -> None:
    """Say what this network lets through, and which relay is near."""
    form = "json" if as_json and not form else form
    pause = _seconds(every)
    source = named(server, derp_map, pin)
    answered, server_found = True, dict[str, Any]()
    if control and pause:
        fail("--control tries the server once: leave --every out")

    def tell(answer: dict[str, Any]) -> None:
        nonlocal answered
        answered = bool(answer["Report"]["RegionLatency"])
        _show(_with_control(answer, server_found), form, verbose=verbose)

    try:
        if control:
            server_found = control_found(source, socket)
        if source.server or source.derp_map or bind_address or bind_port is not None:
            _alone(_relays(source, socket), bind_address, bind_port or 0, verbose, pause, tell)
        else:
            _by_daemon(socket, verbose, pause, tell)
    except KeyboardInterrupt:
        sys.exit(130)
    if not answered:
        fail("no relay answers by UDP, ICMP or HTTPS: is this machine online? `ginnel debug derp REGION` tells more")
    if server_found and not server_found["Reached"]:
        sys.exit(1)


def _with_control(answer: dict[str, Any], found: dict[str, Any]) -> dict[str, Any]:
    if not found:
        return answer
    text = answer["Text"].rstrip("\n") + f"\n{control_line(found)}"
    return {**answer, "Text": text, "Report": {**answer["Report"], "Control": found}}


def _show(answer: dict[str, Any], form: str, *, verbose: bool) -> None:
    if verbose:
        print(f"netcheck: {answer['Line']}", file=sys.stderr)
    if form:
        print(json.dumps(answer["Report"], **({"indent": "\t"} if form == "json" else {"separators": (",", ":")})))
    else:
        print(answer["Text"].rstrip("\n"))
    sys.stdout.flush()


def _seconds(text: str) -> float:
    """A duration as Go writes it; "" and 0: none."""
    if text in ("", "0"):
        return 0.0
    parts = DURATION.findall(text)
    if "".join(number + unit for number, unit in parts) != text:
        fail(f"--every {text!r} is no time: expected for example 10s or 1m30s")
    seconds = sum(float(number) * UNITS[unit] for number, unit in parts)
    return max(EVERY_MIN, seconds) if seconds else 0.0


# --- by the daemon ---------------------------------------------------------------------------------------------


def _by_daemon(path: str | None, verbose: bool, pause: float, tell: Tell) -> None:
    full = True
    while True:
        try:
            name = f"netcheck?full={str(full).lower()}&verbose={str(verbose).lower()}"
            tell(local(path).post(name, timeout=NETCHECK_TIME))
        except ApiError as error:
            fail(str(error))
        if not pause:
            return
        full = False
        time.sleep(pause)


# --- alone -----------------------------------------------------------------------------------------------------


def _relays(source: Named, path: str | None) -> DERPMap:
    import asyncio

    from ginnel.shell.relay_map import DEFAULT_MAP, MapError, Place, parse_map, read_map

    try:
        if not (source.server or source.derp_map):
            return parse_map(json.dumps(local(path).get("derpmap")).encode(), "the daemon")
        place = Place(source.derp_map or source.server + DEFAULT_MAP, source.pin)
        return asyncio.run(read_map(place)).derp_map
    except (ApiError, MapError) as error:
        fail(str(error))


def _alone(  # noqa: PLR0917
    relays: DERPMap, bind_address: str, bind_port: int, verbose: bool, pause: float, tell: Tell
) -> None:
    import asyncio

    from ginnel.core.node.netcheck import ENOUGH_REGIONS, VERBOSE_REGIONS
    from ginnel.shell.node.backend import netcheck_answer
    from ginnel.shell.node.standalone import BindError, standalone

    if verbose:
        _log()
    try:
        address = ip_address(bind_address) if bind_address else None
    except ValueError:
        fail(f"--bind-address {bind_address!r} is no IP address")

    async def check() -> None:
        async with standalone(relays, address=address, port=bind_port) as alone:
            full = True
            while True:
                report = await alone.report(full=full, enough=VERBOSE_REGIONS if verbose else ENOUGH_REGIONS)
                tell(netcheck_answer(report, relays, verbose=verbose))
                if not pause:
                    return
                full = False
                await asyncio.sleep(pause)

    try:
        asyncio.run(check())
    except BindError as error:
        fail(str(error))


def _log() -> None:
    import logging

    logging.basicConfig(level=logging.DEBUG, format="netcheck: %(message)s", stream=sys.stderr)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
