"""`ginnel netcheck`: what this network lets through (tailscale: cmd/tailscale/cli/netcheck.go).

Room: cli. The daemon measures, from the tunnel's own socket; here the words are printed.
"""

from __future__ import annotations

import json

import click

from ginnel.cli.local import ApiError, fail, local
from ginnel.cli.options import socket_option

NETCHECK_TIME = 30.0


@click.command()
@click.option("--format", "form", type=click.Choice(["", "json", "json-line"]), default="", help="Instead of text.")
@socket_option
def netcheck(*, form: str, socket: str | None) -> None:
    """Say what this network lets through, and which relay is near."""
    try:
        got = local(socket).post("netcheck", timeout=NETCHECK_TIME)
    except ApiError as error:
        fail(str(error))
    if form:
        print(json.dumps(got["Report"], indent="\t" if form == "json" else None))
    else:
        print(got["Text"].rstrip("\n"))
