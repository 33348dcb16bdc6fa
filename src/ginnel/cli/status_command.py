"""`ginnel status` as a click command: its help, its errors, and flags that are written in unusual ways.

Room: cli.
"""

from __future__ import annotations

import click

from ginnel.cli.options import GoFlags, socket_option
from ginnel.cli.status import Wish, show


@click.command(cls=GoFlags)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as tailscale status --json does.")
@click.option("--active", is_flag=True, help="Only peers with traffic just now.")
@click.option("--peers/--no-peers", default=True, help="With or without peers.")
@click.option("--self/--no-self", "itself", default=True, help="With or without this machine.")
@click.option("--header", is_flag=True, help="A line of column names first.")
@socket_option
def status(*, as_json: bool, active: bool, peers: bool, itself: bool, header: bool, socket: str | None) -> None:
    """Show who is on the mesh and how each is reached."""
    show(Wish(as_json, active, peers, itself, header, socket))
