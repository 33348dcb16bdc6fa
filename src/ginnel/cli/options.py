"""Options that several commands share.

Room: cli.
"""

from __future__ import annotations

import click

socket_option = click.option("--socket", metavar="PATH", help="The daemon's socket (or GINNEL_SOCKET).")
