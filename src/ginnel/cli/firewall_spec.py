"""`ginnel firewall spec`: everything in one machine-readable document.

Room: cli.
"""

from __future__ import annotations

import json

import click

from ginnel import __version__
from ginnel.cli.firewall_options import Asking, asks_for_mesh


@click.command()
@click.option("--json", "as_json", is_flag=True, help="It is JSON anyway.")
@asks_for_mesh
def spec(*, asking: Asking, as_json: bool) -> None:  # noqa: ARG001
    """Print needs, hosts, levels and sources in one JSON document."""
    from ginnel.core.firewall.spec import spec_json

    print(json.dumps(spec_json(asking.facts(), f"ginnel {__version__}"), indent=2))
