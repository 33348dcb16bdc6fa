"""`ginnel firewall rules`: the plan in a firewall's own language, ready to paste and ready to apply.

Room: cli.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ginnel.cli.firewall_options import Asking, asks_for_mesh
from ginnel.cli.local import fail, plain

if TYPE_CHECKING:
    from ginnel.core.firewall.formats.format import Format
    from ginnel.core.firewall.needs import Plan

USUAL = ("https", "tunnel", "stun", "portal", "tunnel-in")


@click.command()
@click.option("--list", "listing", is_flag=True, help="The formats, and on which level each works.")
@click.option("--format", "name", metavar="NAME", default="", help="One of --list. Default: plain, to read.")
@click.option("--json", "as_json", is_flag=True, help="With --list: as JSON. Else the same as --format json.")
@click.option("--resolve", is_flag=True, help="Ask DNS for the addresses of pinned names.")
@click.option("--inbound", is_flag=True, help="The rules that let in, alone.")
@click.option("--without", metavar="RULE", multiple=True, help="Leave a rule of the plan out, such as portal.")
@click.option("--output", metavar="FILE", type=click.Path(dir_okay=False, path_type=Path), help="Instead of stdout.")
@asks_for_mesh
def rules(
    *, asking: Asking, listing: bool, name: str, as_json: bool, resolve: bool, inbound: bool, without: tuple[str, ...],
    output: Path | None,
) -> None:  # fmt: skip
    """Write the rules in a firewall's own language."""
    if listing:
        _list(as_json)
        return
    if as_json and name not in ("", "json"):
        fail(f"--json is the format json, and --format says {name}: give one of them")
    form = _format(name or ("json" if as_json else "plain"))
    plan = _less(_plan(asking, resolve), without)
    _put(_rendered(form, plan, inbound), output)
    if form.bare or output:
        for note in form.notes(plan):
            print(plain(note), file=sys.stderr)


def _list(as_json: bool) -> None:
    from ginnel.core.firewall.formats.table import FORMATS

    rows = [{"name": form.name, "level": form.level, "about": form.about} for form in FORMATS.values()]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    widths = [max(len(row[column]) for row in rows) for column in ("name", "level")]
    for row in rows:
        print(f"{row['name']:{widths[0]}}  {row['level']:{widths[1]}}  {row['about']}")


def _format(name: str) -> Format:
    from ginnel.core.firewall.formats.table import FORMATS

    if name not in FORMATS:
        near = _near(name, list(FORMATS))
        what = f"did you mean {' or '.join(near)}? --list has all" if near else f"give one of {', '.join(FORMATS)}"
        fail(f"there is no format {name}: {what}")
    return FORMATS[name]


def _near(name: str, names: list[str]) -> list[str]:
    """Of the same maker, or written nearly so."""
    maker = name.lower().partition("-")[0]
    return [each for each in names if each.partition("-")[0] == maker] or get_close_matches(name.lower(), names, n=1)


def _plan(asking: Asking, resolve: bool) -> Plan:
    if not resolve:
        return asking.plan()
    from ginnel.core.firewall.answers import names_to_ask, with_answers
    from ginnel.shell.firewall.lookup import look_up

    facts = asking.facts()
    found = with_answers(facts, asyncio.run(look_up(names_to_ask(facts))))
    if found.unknown:
        more = f" (and {len(found.unknown) - 1} more)" if len(found.unknown) > 1 else ""
        fail(f"{found.unknown[0]}{more}: rules without it would cut it off, so none are written")
    for doubt in found.doubts:
        print(plain(f"Warning: {doubt}; the addresses of the map are taken"), file=sys.stderr)
    return asking.plan_of(found.facts)


def _less(plan: Plan, without: tuple[str, ...]) -> Plan:
    """A rule that this mesh has no use for is left out already; what is none is a slip of the pen."""
    for name in without:
        known = dict.fromkeys((*(need.id for need in plan.needs), *USUAL))
        if name not in known:
            fail(f"--without {name}: there is no such rule, only {', '.join(known)}")
    left_out = [need for need in plan.needs if need.id in without]
    warnings = tuple(
        f"{need.id} is left out, which is not optional. {need.breaks}" for need in left_out if not need.optional
    )
    for warning in warnings:
        print(plain(f"Warning: {warning}"), file=sys.stderr)
    kept = tuple(need for need in plan.needs if need not in left_out)
    return replace(plan, needs=kept, warnings=(*plan.warnings, *warnings))


def _rendered(form: Format, plan: Plan, inbound: bool) -> str:
    from ginnel.core.firewall.formats.check import CannotExpress

    try:
        return form.inbound(plan) if inbound else form.render(plan)
    except CannotExpress as error:
        fail(f"--format {form.name}: {error}")


def _put(text: str, output: Path | None) -> None:
    """Bytes as they are: Windows' formats end their lines by CR LF. A file is whole or as it was."""
    if output is None:
        sys.stdout.write(text)
        sys.stdout.flush()
        return
    beside = output.with_name(f".{output.name}.{os.getpid()}.new")
    try:
        with beside.open("xb") as file:  # never through a link that somebody has laid there
            file.write(text.encode("ascii"))
        beside.replace(output)
    except OSError as error:
        beside.unlink(missing_ok=True)
        fail(f"{output} could not be written: {error.strerror or error}")
