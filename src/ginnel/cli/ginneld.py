"""`ginneld`: the daemon's arguments (tailscaled's names).

Room: cli.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ginnel.cli.local import DEFAULT_SOCKET, fail

DEFAULT_STATE = "/var/lib/ginnel"


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--state", "--statedir", "state", default=DEFAULT_STATE, show_default=True, help="Directory of the state."
)
@click.option("--socket", default=DEFAULT_SOCKET, show_default=True, help="Unix socket of the local API.")
@click.option("--port", default=41641, show_default=True, help="UDP port; 0, or one that is taken: any.")
@click.option("--tun", default="ginnel0", show_default=True, help="Name of the TUN device.")
@click.option(
    "--no-port-mapping", is_flag=True, envvar="GINNEL_NO_PORT_MAPPING", help="Never ask the home router for a port."
)
@click.option(
    "--log-target",
    default="",
    envvar=["GINNEL_LOG_TARGET", "TS_LOG_TARGET"],
    help="Upload the log to this log host, https://HOST.  [default: nowhere]",
)
@click.option(
    "--no-logs-no-support",
    is_flag=True,
    envvar="TS_NO_LOGS_NO_SUPPORT",
    help="Upload no log at all.",
)
@click.option("--verbose", "-v", count=True, help="Say more in the log; twice: everything.")
def main(
    *,
    state: str,
    socket: str,
    port: int,
    tun: str,
    no_port_mapping: bool,
    log_target: str,
    no_logs_no_support: bool,
    verbose: int,
) -> None:
    """The ginnel node: carries this machine's traffic to its mesh."""
    if not 0 <= port <= 0xFFFF:
        fail(f"--port {port}: expected 0 to 65535")
    if not tun or len(tun.encode()) > 15 or "/" in tun or not tun.isprintable() or " " in tun:
        fail(f"--tun {tun!r}: expected a name of at most 15 bytes")
    from ginnel.shell.node.daemon import Options, StartError, run
    from ginnel.shell.node.log_upload import BadTarget, check_target

    target = "" if no_logs_no_support else log_target.rstrip("/")
    try:
        check_target(target) if target else None
    except BadTarget as error:
        fail(str(error))
    options = Options(
        state=Path(state),
        socket=Path(socket),
        port=port,
        tun=tun,
        port_mapping=not no_port_mapping,
        verbose=verbose,
        log_target=target,
    )
    try:
        run(options)
    except StartError as error:
        fail(f"ginneld: {error}")
    sys.exit(0)
