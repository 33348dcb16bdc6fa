"""`ginnel ping`: which way an answer takes (tailscale: cmd/tailscale/cli/ping.go).

Room: cli.
"""

from __future__ import annotations

import sys
import time
from typing import Any
from urllib.parse import quote

import click

from ginnel.cli.local import ApiError, Local, fail, local, plain
from ginnel.cli.options import GoFlags, socket_option
from ginnel.cli.peers import resolve
from ginnel.cli.types import SECONDS

BETWEEN = 1.0
SIZE_MAX = 9000  # as the daemon takes it


@click.command(cls=GoFlags)
@click.argument("peer")
@click.option(
    "-c", "count", type=click.IntRange(0), default=10, show_default=True, help="Pings at most; 0: without end."
)
@click.option("--timeout", type=SECONDS, default="5s", show_default=True, help="How long to wait for each answer.")
@click.option("--until-direct/--no-until-direct", default=True, show_default=True, help="Stop at a direct answer.")
@click.option(
    "--size", type=click.IntRange(0, SIZE_MAX), default=0, help="Size of the ping in bytes, to try the path's MTU."
)
@socket_option
def ping(peer: str, *, count: int, timeout: float, until_direct: bool, size: int, socket: str | None) -> None:
    """Ping PEER (a name or mesh address) and say which path the answer took."""
    api = local(socket)
    address = resolve(api, peer)
    sys.exit(run(api, address, count=count, timeout=timeout, until_direct=until_direct, size=size))


def run(api: Local, address: str, *, count: int, timeout: float, until_direct: bool, size: int) -> int:
    """Ping until the count is reached or a direct answer came; returns the exit status."""
    pongs = sent = 0
    while True:
        sent += 1
        answer = once(api, address, timeout, size)
        print(line(answer, address), flush=True)
        if answer.get("IsLocalIP"):
            return 0
        if not answer.get("Err"):
            pongs += 1
            if answer.get("Endpoint") and until_direct:
                return 0
        if count and sent >= count:
            return verdict(pongs, until_direct=until_direct)
        time.sleep(BETWEEN)


def verdict(pongs: int, *, until_direct: bool) -> int:
    if not pongs:
        fail("no reply: is the peer online? `ginnel status` tells")
    if until_direct:
        fail("direct connection not established: `ginnel path` shows what is allowed, `ginnel netcheck` what passes")
    return 0


def once(api: Local, address: str, timeout: float, size: int) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = api.ask("POST", f"ping?ip={quote(address)}&type=disco&size={size}", None, timeout)
    except TimeoutError:
        return {"Err": "timed out"}
    except ApiError as error:
        fail(str(error))
    return answer


def line(answer: dict[str, Any], address: str) -> str:
    """One ping's line."""
    if answer.get("IsLocalIP"):
        return f"{plain(address)} is local Tailscale IP"
    if answer.get("Err"):
        reason = plain(answer["Err"])
        return f'ping "{plain(address)}" timed out' if reason == "timed out" else f'ping "{plain(address)}": {reason}'
    via = answer["Endpoint"] or f"DERP({plain(answer['DERPRegionCode'])})"
    milliseconds = round(answer["LatencySeconds"] * 1000)
    return f"pong from {plain(answer['NodeName'])} ({plain(answer['NodeIP'])}) via {via} in {milliseconds}ms"
