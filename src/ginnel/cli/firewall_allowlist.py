"""`ginnel firewall allowlist`: host names and addresses for firewalls that must pin them.

Room: cli.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import click

from ginnel.cli.firewall_options import Asking, asks_for_mesh
from ginnel.cli.local import fail, plain

if TYPE_CHECKING:
    from ginnel.core.firewall.allowlist import Line
    from ginnel.core.firewall.plan import Facts

FORMATS = ("text", "fqdn", "json", "csv")


@click.command()
@click.option(
    "--format", "form", type=click.Choice(FORMATS), help="Default: text. A firewall's own language: `rules --format`."
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--level",
    type=click.Choice(("l3", "sni"), case_sensitive=False),
    help="Names for firewalls that resolve them (l3), or that look into TLS (sni). Default: both.",
)
@click.option("--resolve", is_flag=True, help="Ask DNS for the addresses of each name, A and AAAA.")
@asks_for_mesh
def allowlist(*, asking: Asking, form: str | None, as_json: bool, level: str | None, resolve: bool) -> None:
    """List host names and addresses for firewalls that must pin them."""
    from ginnel.core.firewall import texts
    from ginnel.core.firewall.allowlist import allowlist as lines_of
    from ginnel.core.firewall.needs import Level

    if as_json and form not in (None, "json"):
        fail(f"--json is the format json, and --format says {form}: give one of them")
    form = "json" if as_json else form or "text"
    if resolve and form == "fqdn":
        fail("--format fqdn lists names alone: take text, csv or json for what --resolve finds")
    facts = asking.facts()
    lines = lines_of(facts.hosts, Level(level.upper()) if level else None)
    if resolve:
        lines = _resolved(lines, facts)
    for warning in (texts.PINNED, *facts.problems):
        print(plain(f"Warning: {warning}"), file=sys.stderr)
    _show(lines, facts, form, addresses=resolve)
    errors = sum(bool(line.error) for line in lines)
    if errors:
        fail(f"{errors} of {len(lines)} entries are not whole: see their errors, and do not apply this list as it is")


def _resolved(lines: tuple[Line, ...], facts: Facts) -> tuple[Line, ...]:
    from ginnel.core.firewall.allowlist import names_to_resolve, resolved
    from ginnel.shell.firewall.lookup import look_up

    return resolved(lines, asyncio.run(look_up(names_to_resolve(lines))), facts.trust)


def _show(lines: tuple[Line, ...], facts: Facts, form: str, *, addresses: bool) -> None:
    from ginnel.core.firewall import allowlist as formats

    if form == "json":
        print(json.dumps(formats.allowlist_json(lines, facts), indent=2))
    elif form == "csv":
        print(formats.allowlist_csv(lines), end="")
    elif form == "fqdn":
        for name in formats.fqdn_lines(lines):
            print(name)
        if left_out := formats.nameless(lines):
            print(f"Warning: {len(left_out)} addresses have no name: {' '.join(left_out)}", file=sys.stderr)
    else:
        for line in formats.allowlist_text(lines, addresses=addresses):
            print(plain(line))
    sys.stdout.flush()
