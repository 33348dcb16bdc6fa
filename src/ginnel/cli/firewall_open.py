"""`ginnel firewall open` and `close`: the one inbound rule on this host, and back.

Room: cli.
"""

from __future__ import annotations

import json
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ginnel.cli.local import DEFAULT_SOCKET, ApiError, fail, local, plain
from ginnel.cli.options import socket_option
from ginnel.core.firewall.plan import TUNNEL_PORT

if TYPE_CHECKING:
    from ginnel.core.firewall.changes import Change
    from ginnel.shell.firewall.opening import Opened

HERE = ("auto", "ufw", "firewalld", "nftables", "iptables")
ELSEWHERE = ("pf", "netsh", "aws", "gcp", "azure")
DEFAULT_STATE = "/var/lib/ginnel"
NEWS = "if this machine loses its coordination server within 60 s, the rule is taken back by itself"
NO_NEWS = "ginneld does not run here: nothing watches whether this machine loses its coordination server by the rule"

state_option = click.option("--state", metavar="DIR", default=DEFAULT_STATE, help="Where what was changed is noted.")
json_option = click.option("--json", "as_json", is_flag=True, help="Instead of text.")


@click.command("open")
@click.option("--backend", type=click.Choice((*HERE, *ELSEWHERE)), default="auto", help="Which firewall.  [auto]")
@click.option("--port", metavar="PORT", type=click.IntRange(1, 65535), help="Default: the daemon's, else 41641.")
@click.option("--dry-run", is_flag=True, help="Print the command and change nothing.")
@json_option
@state_option
@socket_option
def open_port(
    *, backend: str, port: int | None, dry_run: bool, as_json: bool, state: str, socket: str | None
) -> None:  # fmt: skip
    """Let the tunnel's port in through this host's firewall."""
    port = port or _daemon_port(socket)
    if backend in ELSEWHERE:
        if not dry_run:
            fail(f"{backend} is not this host's firewall: add --dry-run, and run there what is printed")
        _print_elsewhere(backend, port, as_json=as_json)
    elif dry_run:
        _show(_planned(backend, port, state, socket), port, as_json=as_json, dry_run=True)
    else:
        opened = _opened(backend, port, state, socket)
        news = () if opened.already else (NEWS if local(socket).listens() else NO_NEWS, _undo(port, state))
        _show(replace(opened, notes=opened.notes + news), port, as_json=as_json, dry_run=False)


def _undo(port: int, state: str) -> str:
    place = "" if state == DEFAULT_STATE else f" --state {shlex.quote(state)}"
    return f"undo: sudo ginnel firewall close --port {port}{place}"


@click.command("close")
@click.option(
    "--port", metavar="PORT", type=click.IntRange(1, 65535), help="Only this one; default: all that `open` has."
)
@json_option
@state_option
def close_port(*, port: int | None, as_json: bool, state: str) -> None:
    """Take back what `open` has changed; rules of others stay."""
    from ginnel.shell.firewall.opening import OpenError, close_port, recorded

    gone: list[Change] = []
    reasons = []
    try:
        for each in [port] if port else recorded(Path(state)):
            changes, reason = close_port(Path(state), each)
            gone += changes
            reasons += [reason] if reason else []
    except OpenError as error:
        fail(str(error))
    if as_json:
        print(json.dumps({"removed": [_change_json(change) for change in gone], "rolled_back": reasons}, indent=2))
        return
    for change in gone:
        print(f"done: {_words(change)}")
    for reason in reasons:
        print(f"was taken back before: {reason}")
    if not gone and not reasons:
        print("nothing to take back")


def _daemon_port(socket: str | None) -> int:
    """The one that it is bound to, 41641 where it does not run or may not be asked."""
    api = local(socket)
    try:
        if api.listens():
            inside = api.get("debug-inside")
            ports = [n for n in (inside.get("Port"), *(inside.get("Ports") or [])) if isinstance(n, int) and n > 0]
            return ports[0] if ports else TUNNEL_PORT
    except (ApiError, AttributeError):
        pass
    return TUNNEL_PORT


def _print_elsewhere(backend: str, port: int, *, as_json: bool) -> None:
    from ginnel.core.firewall.elsewhere import ELSEWHERE

    lines = ELSEWHERE[backend](port)
    if as_json:
        print(json.dumps({"backend": backend, "port": port, "dry_run": True, "commands": lines}, indent=2))
        return
    print("\n".join(lines))


def _planned(backend: str, port: int, state: str, socket: str | None) -> Opened:
    import os

    from ginnel.core.firewall.generic import generic
    from ginnel.shell.firewall.opening import Opened, OpenError, guess, planned

    try:
        if backend == "auto" and os.geteuid() != 0:
            backend = guess()
        if backend != "auto" and (os.geteuid() != 0 or backend in ("ufw", "firewalld")):
            return Opened(generic(backend, port))
        plan = planned(_wish(backend, port, state, socket))
        return plan if plan.changes or backend == "auto" else Opened(generic(backend, port), plan.already, plan.notes)
    except OpenError as error:
        fail(str(error))


def _opened(backend: str, port: int, state: str, socket: str | None) -> Opened:
    from ginnel.shell.firewall.opening import OpenError, open_port

    try:
        return open_port(_wish(backend, port, state, socket))
    except OpenError as error:
        fail(str(error))


def _wish(backend: str, port: int, state: str, socket: str | None) -> Any:
    import os
    from datetime import UTC, datetime

    from ginnel.core.firewall.backends import Backend
    from ginnel.shell.firewall.opening import Wish
    from ginnel.shell.firewall.way_out import way_out

    return Wish(
        port=port,
        backend=None if backend == "auto" else Backend(backend),
        state=Path(state),
        now=datetime.now(UTC).isoformat(timespec="seconds"),
        socket=socket or os.environ.get("GINNEL_SOCKET") or DEFAULT_SOCKET,
        interface=way_out(),
    )


def _show(got: Opened, port: int, *, as_json: bool, dry_run: bool) -> None:
    from ginnel.core.firewall.changes import command, shown

    commands = [shown(command(change)) for change in got.changes]
    if as_json:
        told = {
            "port": port,
            "dry_run": dry_run,
            "already_open": got.already,
            "changes": [_change_json(change) for change in got.changes],
            "still_blocked": got.still,
            "commands": commands,
            "notes": got.notes,
        }
        print(json.dumps(told, indent=2))
        _end(got)
        return
    if dry_run:
        print("\n".join(commands) if commands else "the port is open already: nothing to do")
        for note in (*(("the port is open already",) if commands and got.already else ()), *got.notes):
            click.echo(f"# {plain(note)}", err=True)
        return
    if got.still:
        print(plain(f"STILL blocked by {'; '.join(got.still)}"))
    elif not commands:
        print("the port is open already: nothing was changed")
    for line in commands:
        print(f"done: {line.removeprefix('sudo ')}")
    for note in got.notes:
        print(plain(f"  {note}"))
    _end(got)


def _end(got: Opened) -> None:
    """A port that is shut still is no success."""
    if got.still:
        sys.exit(1)


def _change_json(change: Change) -> Any:
    import msgspec

    return msgspec.to_builtins(change)


def _words(change: Change) -> str:
    """nft knows rules by a number that nobody else does."""
    from ginnel.core.firewall.changes import NftAccept, shown, undo

    if isinstance(change, NftAccept):
        return f"nft delete rule {change.family} {change.table} {change.chain} (udp dport {change.port} accept)"
    return shown(undo(change)).removeprefix("sudo ")
