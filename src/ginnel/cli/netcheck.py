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
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.local import ApiError, fail, local
from ginnel.cli.options import socket_option

if TYPE_CHECKING:
    from ginnel.wire.tailcfg import DERPMap

Tell = Callable[[dict[str, Any]], None]
NETCHECK_TIME = 30.0
MAP_TIME = 10.0
MAP_LIMIT = 1 << 20
EVERY_MIN = 0.1
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
DEFAULT_MAP = "/derpmap/default"
PIN = re.compile(r"sha256-raw:[0-9a-fA-F]{64}")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


@click.command()
@click.option("--format", "form", type=click.Choice(["", "json", "json-line"]), default="", help="Instead of text.")
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--every", metavar="TIME", default="", help="Again and again, shortly: 10s, 1m30s.")
@click.option("--verbose", is_flag=True, help="Wait for all regions, and say more.")
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
    if derp_map and server:
        fail("--derp-map and --server both name the relays: give one of them")
    source = _source(derp_map, server, pin)
    answered = True

    def tell(answer: dict[str, Any]) -> None:
        nonlocal answered
        answered = bool(answer["Report"]["RegionLatency"])
        _show(answer, form, verbose=verbose)

    try:
        if source.place or bind_address or bind_port is not None:
            _alone(_relays(source, socket), bind_address, bind_port or 0, verbose, pause, tell)
        else:
            _by_daemon(socket, verbose, pause, tell)
    except KeyboardInterrupt:
        sys.exit(130)
    if not answered:
        fail("no relay answers by UDP, ICMP or HTTPS: is this machine online? `ginnel debug derp REGION` tells more")


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


@dataclass(frozen=True, slots=True)
class Source:
    """Where the DERP map comes from: a URL or a file; "": the daemon. `pin`: of the certificate behind the URL."""

    place: str = ""
    pin: str = ""

    @property
    def is_url(self) -> bool:
        return self.place.startswith(("http://", "https://"))


def _source(derp_map: str, server: str, pin: str) -> Source:
    from ginnel.cli.up import check_url, read_invite

    if pin and not PIN.fullmatch(pin):
        fail(f"--pin {pin!r} is no pin: expected sha256-raw: and 64 hexadecimal digits")
    if server.startswith("ginnel-invite"):
        invite = read_invite(server)
        found = Source(invite.url + DEFAULT_MAP, pin or (f"sha256-raw:{invite.pin.hex()}" if invite.pin else ""))
    elif server:
        found = Source(check_url(server, "--server") + DEFAULT_MAP, pin)
    else:
        found = Source(derp_map, pin)
    if pin and not found.place.startswith("https://"):
        fail("--pin is about the certificate of an https address: give that by --server or --derp-map")
    return found


def _relays(source: Source, path: str | None) -> DERPMap:
    from ginnel.wire.read import WireError
    from ginnel.wire.tailcfg import DERPMap, decode

    place = source.place or "the daemon"
    try:
        if source.is_url:
            body = _download(source)
        elif source.place:
            body = Path(source.place).read_bytes()[: MAP_LIMIT + 1]
        else:
            body = json.dumps(local(path).get("derpmap")).encode()
        found = decode(DERPMap, body)
    except ApiError as error:
        fail(str(error))
    except OSError as error:
        fail(f"cannot read the DERP map {place}: {error.strerror or error}")
    except WireError as error:
        fail(f"{place} holds no DERP map: {error}")
    if len(body) > MAP_LIMIT or not found.regions:
        fail(f"{place} has no relays to ask; name a DERP map with --derp-map FILE")
    return found


def _download(source: Source) -> bytes:
    import asyncio

    from ginnel.core.node.routing import MARK
    from ginnel.shell.node.web import WebError, fetch

    async def get() -> bytes:
        async with asyncio.timeout(MAP_TIME):
            page = await fetch("GET", source.place, mark=MARK, pin=source.pin)
        if page.status != 200:
            raise WebError(f"expected 200, got HTTP {page.status}")
        return page.body

    try:
        return asyncio.run(get())
    except (WebError, TimeoutError) as error:
        advice = "; give an invite as --server, or the certificate's --pin" if _untrusted(error, source) else ""
        fail(f"cannot fetch the DERP map from {source.place}: {error or 'no answer'}{advice}")


def _untrusted(error: Exception, source: Source) -> bool:
    return "certificate" in str(error) and not source.pin


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
