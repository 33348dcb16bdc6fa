"""`ginnel status` as a click command: its help, its errors, and flags that are written in unusual ways.

Room: cli.
"""

from __future__ import annotations

import click

from ginnel.cli.local import fail
from ginnel.cli.options import GoFlags, socket_option
from ginnel.cli.status import Wish, show


@click.command(cls=GoFlags)
@click.option("--json", "as_json", is_flag=True, help="Print JSON, as tailscale status --json does.")
@click.option("--active", is_flag=True, help="Only peers with traffic just now.")
@click.option("--peers/--no-peers", default=True, help="With or without peers.")
@click.option("--self/--no-self", "itself", default=True, help="With or without this machine.")
@click.option("--header", is_flag=True, help="A line of column names first.")
@click.option("--web", is_flag=True, help="Serve it as a page, until Ctrl-C.")
@click.option(
    "--listen", metavar="IP:PORT", default="127.0.0.1:8384", show_default=True, help="With --web; port 0: any."
)
@click.option("--browser/--no-browser", default=True, show_default=True, help="With --web: open a browser.")
@socket_option
def status(
    *,
    as_json: bool,
    active: bool,
    peers: bool,
    itself: bool,
    header: bool,
    web: bool,
    listen: str,
    browser: bool,
    socket: str | None,
) -> None:
    """Show who is on the mesh and how each is reached."""
    if web:
        if as_json:
            fail("--web and --json do not go together: give one of them")
        from ginnel.cli.status_web import serve

        serve(Wish(False, active, peers, itself, True, socket), listen, browser=browser)
    show(Wish(as_json, active, peers, itself, header, socket))
