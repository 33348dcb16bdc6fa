"""`ginnel firewall plan`: what must be let through, why, what breaks without it, and how that looks.

Room: cli.
"""

from __future__ import annotations

import json
import shutil
import sys

import click

from ginnel.cli.firewall_options import Asking, asks_for_mesh
from ginnel.cli.local import plain


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Instead of text.")
@asks_for_mesh
def plan(*, asking: Asking, as_json: bool) -> None:
    """Say what must be let through, why, and what breaks without it."""
    from ginnel.core.firewall.plan_json import plan_json
    from ginnel.core.firewall.plan_text import plan_lines

    made = asking.plan()
    if as_json:
        print(json.dumps(plan_json(made), indent=2))
        return
    for line in plan_lines(made, shutil.get_terminal_size((100, 24)).columns):
        print(plain(line))
    sys.stdout.flush()
