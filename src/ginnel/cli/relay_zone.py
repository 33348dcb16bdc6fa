"""`ginnel relay zone`: the names of the relays, for a DNS server of one's own.

Room: cli.
"""

from __future__ import annotations

import json

import click


@click.command()
@click.option("--state", help="The server's state directory.")
@click.option("--format", "form", type=click.Choice(["zonefile", "json"]), default="zonefile", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def zone(state: str | None, form: str, as_json: bool) -> None:
    """Print the zone of the relays' names, as the running server has it."""
    from ginnel.cli.admin import ask

    told = ask(state, "relay.zone", {})
    text = told.pop("zonefile")
    print(json.dumps(told, indent=2) if as_json or form == "json" else text.rstrip("\n"))
