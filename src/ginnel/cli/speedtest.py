"""`ginnel speedtest`: the throughput to a peer (tailscale: cmd/speedtest/speedtest.go), and by which path it came.

Room: cli.
"""

from __future__ import annotations

import json
import select
import socket as sockets
import sys
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.local import fail, local, plain
from ginnel.cli.options import socket_option
from ginnel.cli.peers import find, running_status
from ginnel.cli.types import SECONDS

if TYPE_CHECKING:
    from ginnel.shell.speedtest import Interval

USUAL_PORT = 20333


@click.command()
@click.argument("peer", required=False)
@click.option("--server", "-s", "serving", is_flag=True, help="Answer speed tests of peers, until Ctrl-C.")
@click.option("--reverse", "-r", is_flag=True, help="Send to the peer, instead of receiving from it.")
@click.option("--time", "-t", "seconds", type=SECONDS, default="5s", show_default=True, help="1 to 30 seconds.")
@click.option("--port", type=click.IntRange(1, 65535), default=USUAL_PORT, show_default=True, help="Of the server.")
@click.option("--json", "as_json", is_flag=True, help="Instead of text.")
@socket_option
def speedtest(
    *, peer: str | None, serving: bool, reverse: bool, seconds: float, port: int, as_json: bool, socket: str | None
) -> None:
    """Measure the throughput to PEER, where `ginnel speedtest --server` runs, and say by which path it came.

    A relayed path is slower than a direct one: `ginnel doctor PEER` says why a pair is relayed.
    """
    from ginnel.shell.speedtest import SpeedtestError

    if serving == bool(peer):
        fail("which peer? Give its name, or --server to answer others")
    try:
        if peer:
            _ask(peer, socket, reverse=reverse, seconds=seconds, port=port, as_json=as_json)
        else:
            _serve(socket, port, as_json=as_json)
    except SpeedtestError as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(0 if serving else 130)


# --- asking ----------------------------------------------------------------------------------------------------


def _ask(peer: str, path: str | None, *, reverse: bool, seconds: float, port: int, as_json: bool) -> None:
    from ginnel.shell.speedtest import LONGEST, SHORTEST, Direction, ask, whole

    if not SHORTEST <= seconds <= LONGEST:
        fail(f"--time must be {SHORTEST:g} to {LONGEST:g} s")
    api = local(path)
    address = find(running_status(api), peer)["TailscaleIPs"][0]
    direction = Direction.UPLOAD if reverse else Direction.DOWNLOAD
    if not as_json:
        print(f"Starting a {direction.name.lower()} test with {plain(peer)} ({address} port {port})", flush=True)
        print(f"{'Interval':18}{'Transfer':>16}{'Bandwidth':>20}")
    intervals: list[Interval] = []
    for one in ask((address, port), direction, seconds):
        intervals.append(one)
        if not as_json:
            print(_line(one), flush=True)
    total = whole(intervals)
    used = used_path(find(running_status(api), peer))
    if as_json:
        print(json.dumps(_members(peer, direction.name.lower(), used, intervals, total), indent=2))
        return
    print("-" * 54)
    print(_line(total))
    print(f"Path: {plain(used)}")


def used_path(machine: dict[str, Any]) -> str:
    """As `ginnel status` calls it."""
    if machine.get("CurAddr"):
        return f"direct {machine['CurAddr']}"
    return f'relay "{machine["Relay"]}"' if machine.get("Relay") else "this machine itself"


def _line(one: Interval) -> str:
    span = f"{one.start:.2f}-{one.end:.2f} s"
    return f"{span:18}{8 * one.bytes / 1e6:10.1f} MBits{one.bits_per_second / 1e6:12.1f} Mbits/s"


def _members(peer: str, direction: str, path: str, intervals: list[Interval], total: Interval) -> dict[str, Any]:
    return {
        "Peer": peer,
        "Direction": direction,
        "Path": path,
        "Intervals": [_measured(one) for one in intervals],
        "Total": _measured(total),
    }


def _measured(one: Interval) -> dict[str, float]:
    return {
        "Start": round(one.start, 3),
        "End": round(one.end, 3),
        "Bytes": one.bytes,
        "BitsPerSecond": round(one.bits_per_second),
    }


# --- answering -------------------------------------------------------------------------------------------------


def _serve(path: str | None, port: int, *, as_json: bool) -> None:
    """On this machine's mesh addresses alone, one client at a time."""
    from ginnel.shell.speedtest import SpeedtestError, serve_one

    listening: dict[int, sockets.socket] = {}
    for address in running_status(local(path))["Self"]["TailscaleIPs"]:
        one = _listening(str(address), port)
        listening[one.fileno()] = one
        print(f"listening on {address} port {port}", file=sys.stderr, flush=True)
    while True:
        for number in select.select(list(listening), [], [])[0]:
            try:
                client, total = serve_one(listening[number])
            except SpeedtestError as error:
                print(plain(str(error)), file=sys.stderr, flush=True)
                continue
            print(json.dumps({"Client": client, **_measured(total)}) if as_json else f"{client}: {_line(total)}")
            sys.stdout.flush()


def _listening(address: str, port: int) -> sockets.socket:
    try:
        family = sockets.AF_INET6 if ":" in address else sockets.AF_INET
        return sockets.create_server((address, port), family=family, backlog=4)
    except OSError as error:
        fail(f"cannot listen on {address} port {port}: {error.strerror}; give another --port")
